"""The HTTP server of the Functions worker, with three gaps of the worker's library closed.

The host announces each request as an invocation and forwards it to this server, where the library pairs
the two by an id: `azure_functions_runtime` from Python 3.13 on, `azure_functions_worker` before. The
library's route does not match every path, its record of each pair is never dropped, and it ends the
invocation before the response is sent.

The last loses logs: the host keeps a line of the log only if it names an invocation that has not ended.
So an invocation lasts here as long as its response and the detached work of its request (`respond`), and
what the tasks and threads of its request log meanwhile names it.

Everything here looks the library's names up and does nothing where they are missing, so that another
version of it works as it is.
"""

from shared.functions_worker.pairs import Pairs
from shared.functions_worker.server import WorkerServer, respond

__all__ = ["Pairs", "WorkerServer", "respond"]
