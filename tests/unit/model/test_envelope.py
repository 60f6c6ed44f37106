"""The size of an envelope is that of the envelope."""

from hypothesis import given
from hypothesis import strategies as st

from polyglotd.model import Event, encode_event, envelope_bytes

names = st.text(st.characters(codec="utf-8"), max_size=20)
ascii_names = st.text("abcXYZ09_-.:/", max_size=20)


@given(
    st.builds(
        Event,
        id=ascii_names,
        app_id=ascii_names,
        channel=names | st.just('room:"quoted"\\'),
        epoch=ascii_names,
        seq=st.integers(0, 2**63),
        type=ascii_names,
        data=st.binary(max_size=50),
        user_id=st.none() | names,
        ts_us=st.integers(0, 4_000_000_000_000_000),
    )
)
def test_the_size_of_an_envelope_is_that_of_its_bytes(event: Event) -> None:
    assert envelope_bytes(event) == len(encode_event(event))
