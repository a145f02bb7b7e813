//! The functions of the fuzz targets, on bytes that resemble what layers write.

use proptest::prelude::*;

/// Bytes of frames and chains that this crate wrote.
const FRAMES: &str = include_str!("../fixtures/frames.txt");
const CHAINS: &str = include_str!("../fixtures/chains.txt");

fn known() -> Vec<Vec<u8>> {
    let words = [FRAMES, CHAINS].into_iter().flat_map(str::lines);
    let words =
        words.filter(|line| !line.starts_with('#')).flat_map(|line| line.split(' ').skip(1));
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    words.map(|word| word.as_bytes().chunks(2).filter_map(byte).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Frames and chained events with bytes changed, cut and put in.
    #[test]
    fn l7_changed_frames_are_events_or_errors(
        nth in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = nth.get(&known()).clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        crate::fuzzed::frame(&bytes);
    }

    #[test]
    fn l7_arbitrary_bytes_are_events_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        crate::fuzzed::frame(&bytes);
        crate::fuzzed::personal(&bytes);
    }

    #[test]
    fn l21_text_that_resembles_personal_values_is_an_event_or_an_error(text in
        "[{\\[]{0,2}(\\{\"\\$personal\":\"[a-c]\",\"(value|sealed|redacted)\":(true|1|\"[A-Za-z0-9+/]{0,9}=?\"|\\[\\])\\}?,?){0,3}[\\]}]{0,2}"
    ) {
        crate::fuzzed::personal(text.as_bytes());
    }
}
