"""Ends kernels whose page has been closed.

Voila starts a kernel of half a gigabyte or more for each page and ends it when the page says that it is being closed.
A crashed browser, a lost network or a page closed before it was drawn do not say so; therefore the server checks too.
JupyterLab ends no kernel by itself.

This is imported by the server process, which needs neither torch nor the demo. Its settings are in
notebooks/usercourse/demo/server/voila.py for the demo, and in course.py for JupyterLab.
"""

import time
from typing import Any

from jupyter_server._tz import utcnow
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Float


class PageKernels(AsyncMappingKernelManager):
    """Ends a kernel `cull_alone_timeout` seconds after its last page was closed or its last activity, whichever is
    later; with cull_connected also that of an open page, `cull_idle_timeout` seconds after its last activity. A busy
    kernel is not ended.
    """

    cull_alone_timeout = Float(40.0, config=True, help="seconds without a page after which a kernel ends")

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)  # type: ignore[no-untyped-call]
        self._left: dict[str, float] = {}  # when a page was last seen to leave, by time.monotonic()

    def notify_disconnect(self, kernel_id: str) -> None:
        """Records that a page was closed or lost its connection: it can reconnect within cull_alone_timeout."""
        super().notify_disconnect(kernel_id)  # type: ignore[no-untyped-call]
        self._left[kernel_id] = time.monotonic()

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Called for each kernel every cull_interval seconds."""
        if kernel_id not in self._kernels:  # ended meanwhile, by its page
            return
        kernel = self._kernels[kernel_id]
        if not hasattr(kernel, "last_activity"):  # it is just being started
            return
        idle = (utcnow() - kernel.last_activity).total_seconds()
        limit = float(self.cull_idle_timeout) if self.cull_connected else float("inf")
        if not self._kernel_connections.get(kernel_id, 0):
            limit = self.cull_alone_timeout
            idle = min(idle, time.monotonic() - self._left.get(kernel_id, float("-inf")))
        if kernel.execution_state != "busy" and idle > limit:
            self.log.info("Ending kernel %s after %.0f idle seconds", kernel_id, idle)
            self._left.pop(kernel_id, None)
            await self.shutdown_kernel(kernel_id)  # type: ignore[no-untyped-call]


def let_pages_sign_off(handler: Any, **_: Any) -> None:
    """Gives a page, before it is drawn, the cookie that the server requires of its message when it is closed."""
    _ = handler.xsrf_token
