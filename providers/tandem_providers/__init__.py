"""Realtime voice providers behind one interface.

`Client(OpenAIRealtime(api_key=...), ...)` tries its providers in order and is a provider itself. The vocabulary:
what a provider tells is in `events`, what it can be told in `commands`, what goes wrong in `errors`.
"""

from tandem_providers.client import Client
from tandem_providers.commands import (
    CancelResponse,
    Command,
    CommitTurn,
    PlaybackReport,
    Purpose,
    Say,
    SendDtmf,
    SendText,
    ToolResult,
)
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.echo import Echo
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)
from tandem_providers.events import (
    AudioChunk,
    Event,
    HangupRequested,
    ItemAdded,
    ProviderWarning,
    RateLimits,
    RawEvent,
    SessionClosed,
    SessionReady,
    ToolCall,
    Transcript,
    TurnEnded,
    TurnStarted,
    Usage,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.provider import Capabilities, Provider, Session
from tandem_providers.session import WebSocketProvider
from tandem_providers.table import (
    AzureRealtime,
    DeepgramAgent,
    ElevenLabsAgent,
    GeminiLive,
    OpenAICompatible,
    OpenAILive,
    OpenAIRealtime,
    XAIRealtime,
)

__all__ = [
    "AudioChunk",
    "AuthenticationFailedError",
    "AzureRealtime",
    "CancelResponse",
    "Capabilities",
    "Client",
    "Command",
    "CommitTurn",
    "ConnectionFailedError",
    "DeepgramAgent",
    "Echo",
    "ElevenLabsAgent",
    "Event",
    "FunctionDeclaration",
    "GeminiLive",
    "HangupRequested",
    "InvalidConfigError",
    "ItemAdded",
    "OpenAICompatible",
    "OpenAILive",
    "OpenAIRealtime",
    "PlaybackReport",
    "ProcessConfig",
    "Provider",
    "ProviderError",
    "ProviderUnavailableError",
    "ProviderWarning",
    "Purpose",
    "RateLimitedError",
    "RateLimits",
    "RawEvent",
    "Say",
    "SendDtmf",
    "SendText",
    "Session",
    "SessionClosed",
    "SessionClosedError",
    "SessionReady",
    "ToolCall",
    "ToolResult",
    "Transcript",
    "TurnEnded",
    "TurnStarted",
    "Usage",
    "UserSpeechStarted",
    "UserSpeechStopped",
    "WebSocketProvider",
    "XAIRealtime",
]
