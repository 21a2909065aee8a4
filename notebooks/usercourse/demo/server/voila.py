"""Settings of the demo's server; `course.demo_command` names this folder as the only one for settings."""

from usercourse.kernels import PageKernels, let_pages_sign_off

c = get_config()  # type: ignore[name-defined]  # noqa: F821

c.VoilaConfiguration.multi_kernel_manager_class = PageKernels
c.VoilaConfiguration.prelaunch_hook = let_pages_sign_off
c.PageKernels.cull_connected = True
c.PageKernels.cull_idle_timeout = 1800  # seconds, for an open page that is not used
c.PageKernels.cull_interval = 5  # seconds
