"""Speech over the realtime API: texts read aloud by models that converse."""

from shared.openai_service.realtime.clip import RealtimeAnswer
from shared.openai_service.realtime.speech import open_speech
from shared.openai_service.realtime.text import RealtimeText, speaks_over_realtime

__all__ = ["RealtimeAnswer", "RealtimeText", "open_speech", "speaks_over_realtime"]
