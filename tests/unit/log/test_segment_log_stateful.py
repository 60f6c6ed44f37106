"""The log against a plain model, with each of its writers. The rules are in `log_machine`."""

from log_machine import SETTINGS_OF_RUNS, SegmentLogMachine


class NativeSegmentLogMachine(SegmentLogMachine):
    writer = "native"


SegmentLogMachine.TestCase.settings = SETTINGS_OF_RUNS
NativeSegmentLogMachine.TestCase.settings = SETTINGS_OF_RUNS
TestSegmentLog = SegmentLogMachine.TestCase
TestNativeSegmentLog = NativeSegmentLogMachine.TestCase
