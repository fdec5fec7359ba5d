"""A stand-in for the OpenAI API: no model, fixed rules, real wire formats.

It lets a newcomer try the whole app without a key, and tests meet a real HTTP server that answers and
fails by a script. It says in every answer that it is a stand-in. The deployed app never contains it.
"""

from local.stand_in.app import VIDEO_MODEL, create_stand_in
from local.stand_in.script import Rule, load_script

__all__ = ["VIDEO_MODEL", "Rule", "create_stand_in", "load_script"]
