"""Kernels of pages: none for long without one.

Voila starts a kernel of half a gigabyte or more for each page and ends it by a message that a leaving page sends, if
it does: a crashed browser, a lost network or a page left before it was drawn send none. So the server looks too.
JupyterLab ends none by itself.

Read by the server process, which needs neither torch nor the demo. Settings: for the demo's page
notebooks/usercourse/demo/server/voila.py, for JupyterLab course.py.
"""

import time
from typing import Any

from jupyter_server._tz import utcnow
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Float


class PageKernels(AsyncMappingKernelManager):
    """Ends a kernel `cull_alone_timeout` seconds after its last page left, or after its last work where that was
    later; with cull_connected also that of an open page, `cull_idle_timeout` seconds after its last work. A busy
    kernel is left to finish.
    """

    cull_alone_timeout = Float(40.0, config=True, help="seconds without a page after which a kernel ends")

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)  # type: ignore[no-untyped-call]
        self._left: dict[str, float] = {}  # when a page was last seen to leave, by time.monotonic()

    def notify_disconnect(self, kernel_id: str) -> None:
        """A page has left, or its connection broke: it has cull_alone_timeout to come back."""
        super().notify_disconnect(kernel_id)  # type: ignore[no-untyped-call]
        self._left[kernel_id] = time.monotonic()

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Looked at every cull_interval seconds."""
        if kernel_id not in self._kernels:  # its page has signed off while others were looked at
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
    """Before a page is drawn: give it the cookie without which the server refuses its message on leaving."""
    _ = handler.xsrf_token
