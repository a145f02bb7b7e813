//! What a notification says: which streams were appended to.

use annals::StreamId;

/// A notification names at most so many bytes of streams; beyond that it is for all. The server takes 8,000.
const PAYLOAD: usize = 7_500;
/// Names hold no control characters, so these separate them.
const END_OF_NAME: char = '\u{1f}';
const END_OF_STREAM: char = '\u{1e}';

/// Names of streams; empty if there are too many: then all are meant.
pub(crate) fn encode<'a>(
    streams: impl IntoIterator<Item = &'a StreamId>,
    everywhere: bool,
) -> String {
    let mut payload = String::new();
    for stream in streams {
        payload.push_str(stream.category.as_str());
        payload.push(END_OF_NAME);
        payload.push_str(stream.name.as_str());
        payload.push(END_OF_STREAM);
    }
    if everywhere || payload.len() > PAYLOAD {
        payload.clear();
    }
    payload
}

/// The streams of a notification; `None`: all.
pub(crate) fn decode(payload: &str) -> Option<Vec<StreamId>> {
    let streams = payload.split_terminator(END_OF_STREAM).map(|stream| {
        let (category, name) = stream.split_once(END_OF_NAME)?;
        StreamId::new(category, name).ok()
    });
    let streams: Vec<StreamId> = streams.collect::<Option<_>>()?;
    (!streams.is_empty()).then_some(streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_names_streams_or_all() {
        let streams =
            [StreamId::from_static("orders", "o-1"), StreamId::from_static("a/b", "c \u{1F980}")];
        assert_eq!(decode(&encode(&streams, false)).unwrap(), streams);
        assert_eq!(decode(&encode(&streams, true)), None);
        let many: Vec<_> =
            (0..200).map(|nth| StreamId::new("orders", format!("{nth:0>100}")).unwrap()).collect();
        assert_eq!(decode(&encode(&many, false)), None);
        assert_eq!(decode("from somebody else"), None);
    }
}
