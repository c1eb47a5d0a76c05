"""Where do keys come from that a provider publishes? Over TLS, without redirects, remembered, and never again at once after a failure."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.certificates import authority
from ringback.receiver import Receiver
from ringback.receiver.fetching import HttpsFetcher
from ringback.signing.fetched import KeyRef, KeyUnavailable
from tests.receiver.clocks import StandingClock
