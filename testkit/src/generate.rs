//! Random data from a seed, and lists of names and payloads that adapters get wrong.
//!
//! Everything is a pure function of its arguments: the same seed makes the same data on every machine.
//!
//! ```
//! use annals_testkit::generate::{self, Generator};
//! let mut generator = Generator::new(42);
//! let person = generator.person();
//! assert_eq!(person, Generator::new(42).person());
//! assert!(generate::names().iter().all(|name| annals::EventName::new(name.as_str()).is_ok()));
//! ```

use annals::{EventId, EventName, StreamId, Tags};
use fake::Fake;
use fake::faker::company::en::CompanyName;
use fake::faker::internet::en::SafeEmail;
use fake::faker::lorem::en::Sentence;
use fake::faker::name::en::Name;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

const THINGS: &[&str] = &["order", "invoice", "account", "profile", "booking"];

/// Draws random data from a seed.
#[derive(Debug)]
pub struct Generator(StdRng);

impl Generator {
    /// The data of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.random_range(0..bound)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `items`.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.0.random_range(0..items.len())]
    }

    /// The name of a person.
    pub fn person(&mut self) -> String {
        Name().fake_with_rng(&mut self.0)
    }

    /// The name of a company.
    pub fn company(&mut self) -> String {
        CompanyName().fake_with_rng(&mut self.0)
    }

    /// An address for mail that reaches nobody.
    pub fn email(&mut self) -> String {
        SafeEmail().fake_with_rng(&mut self.0)
    }

    /// A few words.
    pub fn sentence(&mut self) -> String {
        Sentence(4..12).fake_with_rng(&mut self.0)
    }

    /// What an ordinary application stores: an object of about `bytes` bytes of JSON, at least 100.
    pub fn ordinary(&mut self, bytes: usize) -> Value {
        let mut value = json!({
            "id": self.below(1_000_000),
            "name": self.person(),
            "company": self.company(),
            "email": self.email(),
        });
        let mut note = String::new();
        while value.to_string().len() + note.len() < bytes {
            note.push_str(&self.sentence());
            note.push(' ');
        }
        value["note"] = note.into();
        value
    }

    /// An id with the form of a random UUID.
    pub fn event_id(&mut self) -> EventId {
        EventId::from_uuid(uuid::Builder::from_random_bytes(self.0.random()).into_uuid())
    }

    /// What an ordinary application calls an event, such as `invoice-sent`.
    pub fn event_name(&mut self) -> EventName {
        let (thing, done) =
            (self.pick(THINGS), self.pick(&["placed", "changed", "sent", "closed"]));
        valid(EventName::new(format!("{thing}-{done}")))
    }

    /// An ordinary stream, such as `orders/order-4711`.
    pub fn stream(&mut self) -> StreamId {
        let thing = self.pick(THINGS);
        valid(StreamId::new(format!("{thing}s"), format!("{thing}-{}", self.below(10_000))))
    }

    /// Up to three ordinary tags, such as `customer:17`.
    pub fn tags(&mut self) -> Tags {
        let count = self.below(4);
        let tag =
            |_| format!("{}:{}", self.pick(&["customer", "country", "batch"]), self.below(100));
        valid(Tags::parse((0..count).map(tag)))
    }

    /// A time from 2000 to 2030, to the microsecond.
    pub fn time(&mut self) -> OffsetDateTime {
        let (from, until) = (946_684_800_000_000_i64, 1_893_456_000_000_000);
        OffsetDateTime::UNIX_EPOCH + Duration::microseconds(self.0.random_range(from..until))
    }

    /// A name that adapters confuse, cut, fold or choke on.
    pub fn hostile_name(&mut self) -> String {
        self.pick(&names()).clone()
    }

    /// JSON text that stores change, refuse or choke on.
    pub fn hostile_json(&mut self) -> String {
        self.pick(&payloads()).1.clone()
    }

    /// A name of 1 to 255 bytes from letters of every kind, without control characters.
    pub fn name(&mut self) -> String {
        let letters = 1 + self.below(40);
        let mut name = String::new();
        for _ in 0..letters {
            let letter = match self.below(6) {
                0 | 1 => *self.pick(&['a', 'b', 'c', 'A', 'B', '1']),
                2 => *self.pick(&[
                    '-', '_', '.', '/', ':', '|', '%', '*', '?', '\\', '\'', '"', ';', ' ',
                ]),
                3 => char::from_u32(0x20 + u32::try_from(self.below(0x5F)).unwrap_or(0))
                    .unwrap_or('x'),
                4 => *self.pick(&[
                    'é', 'ß', 'İ', 'ı', '日', '\u{301}', '\u{200D}', '\u{202E}', '🦀', '\u{FFFF}',
                ]),
                _ => self.letter(),
            };
            if name.len() + letter.len_utf8() <= annals::MAX_NAME_BYTES {
                name.push(letter);
            }
        }
        name
    }

    /// Any character but control characters.
    fn letter(&mut self) -> char {
        loop {
            let code = u32::try_from(self.below(0x0011_0000)).unwrap_or(0);
            match char::from_u32(code) {
                Some(letter) if !letter.is_control() => return letter,
                _ => {}
            }
        }
    }

    /// JSON text of any shape: nested to `depth`, with white space, odd numbers, escapes and repeated keys.
    pub fn json(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 5 } else { 7 }) {
            0 => (*self
                .pick(&["null", "true", "false", "0", "-0", "-0.0", "1e308", "5e-324", "1E+2"]))
            .to_owned(),
            1 => (*self.pick(NUMBERS)).to_owned(),
            2 => json!(self.name()).to_string(),
            3 => (*self.pick(&[r#""\u0000""#, r#""\ud83e\udd80""#, r#""\/\b\f""#, r#""""#]))
                .to_owned(),
            4 => self.below(u64::MAX).to_string(),
            5 => {
                let items: Vec<_> = (0..self.below(4)).map(|_| self.json(depth - 1)).collect();
                format!("[{}]", items.join(*self.pick(&[",", " , ", ",\n"])))
            }
            _ => {
                let keys = ["a", "b", "", "$", "__proto__", "a"];
                let mut item = |_| format!("{}:{}", json!(self.pick(&keys)), self.json(depth - 1));
                let items: Vec<_> = (0..3).map(&mut item).collect();
                format!("{{{}}}", items.join(","))
            }
        }
    }
}

/// Numbers at the limits of what parsers keep.
pub const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "-0.0",
    "1.0",
    "1.50",
    "-9223372036854775808",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "1208925819614629174706176",
    "5e-324",
    "1e308",
    "1.7976931348623157e308",
    "1e400",
    "0.30000000000000004",
    "0.1",
    "1E5",
    "1e+5",
    "123456789012345678901234567890.123456789012345678901234567890",
];

/// Names that adapters confuse, cut, fold or choke on, each valid, in groups that must be kept apart.
#[must_use]
pub fn name_groups() -> Vec<Vec<String>> {
    let long = |letter: &str, count: usize| letter.repeat(count);
    let groups: Vec<Vec<String>> = vec![
        owned(&[
            "a", "a-b", "b", "a.b", "a/b", "a:b", "a|b", "a b", "a_b", "a,b", "a+b", "a#b", "a@b",
        ]),
        owned(&[
            "x%", "x%y", "xy", "x_y", "x-y", "x*", "x?", "x\\", "x\\y", "x\\%", "x[y]", "x(y)",
            "x{y}", "xay", "xzzy",
        ]),
        owned(&["case", "Case", "CASE", "caſe", "ﬀ", "ff"]),
        owned(&[
            "space",
            " space",
            "space ",
            " space ",
            "sp ace",
            "sp  ace",
            "space\u{A0}",
            "\u{3000}space",
            " ",
        ]),
        owned(&["caf\u{e9}", "cafe\u{301}", "cafe", "CAF\u{c9}"]),
        owned(&["straße", "strasse", "STRASSE", "STRAẞE"]),
        owned(&["i", "I", "ı", "İ", "i\u{307}"]),
        owned(&["1", "01", "1.0", "+1", "１", "١", "0x1", "1e0"]),
        owned(&["null", "NULL", "None", "undefined", "nil", "true", "false", "default"]),
        owned(&[
            "$all", "$streams", "__log__", "*", "%", "_", ".", "..", "/", "\\", "-", "--", "~",
            "?", "#", "$", "all",
        ]),
        owned(&[
            "'",
            "''",
            "\"",
            "\"\"",
            "`",
            "';--",
            "'; DROP TABLE events; --",
            "\" OR 1=1",
            "$1",
            ":name",
            "?1",
            "\\'",
            "E'\\n'",
        ]),
        owned(&["select", "from", "user", "order", "group", "table", "events", "streams", "log"]),
        owned(&[
            "日本語",
            "日本",
            "עברית",
            "العربية",
            "\u{202E}rtl",
            "🦀",
            "🦀🦀",
            "👨\u{200D}👩\u{200D}👧",
            "👨👩👧",
            "e\u{200B}",
            "e",
        ]),
        owned(&[
            "\u{FEFF}bom",
            "bom",
            "\u{FFFF}",
            "\u{FFFD}",
            "\u{10FFFF}",
            "\u{E000}",
            "\u{AD}",
            "soft\u{AD}hyphen",
            "softhyphen",
        ]),
        owned(&[
            "<b>",
            "&lt;b&gt;",
            "a&b",
            "a=b",
            "a%20b",
            "a%2520b",
            "{\"a\":1}",
            "[]",
            "\\u0000",
            "\\0",
        ]),
        vec![
            long("n", 62),
            long("n", 63),
            long("n", 64),
            long("n", 65),
            long("n", 127),
            long("n", 128),
            long("n", 200),
            long("n", 239),
            long("é", 60),
            long("日", 70),
            format!("{}z", long("n", 63)),
        ],
    ];
    groups
}

/// All names of [`name_groups`].
#[must_use]
pub fn names() -> Vec<String> {
    name_groups().concat()
}

/// Texts that are no names.
#[must_use]
pub fn invalid_names() -> Vec<String> {
    let mut invalid =
        owned(&["", "\0", "a\0", "a\nb", "\t", "a\r", "\u{7F}", "\u{80}", "a\u{9F}", "\u{1B}[0m"]);
    invalid.extend(["n".repeat(256), "é".repeat(128), "n".repeat(65_536)]);
    invalid
}

/// JSON texts that stores change, refuse or choke on, each with what it is.
#[must_use]
pub fn payloads() -> Vec<(&'static str, String)> {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let mut payloads: Vec<(&'static str, String)> = vec![
        ("shape null", "null".into()),
        ("shape false", "false".into()),
        ("shape empty text", "\"\"".into()),
        ("shape empty array", "[]".into()),
        ("shape empty object", "{}".into()),
        ("shape nested empties", r#"{"a":{},"b":[],"c":[{}],"d":[[]],"e":null}"#.into()),
        (
            "shape odd keys",
            r#"{"":1,"$":2,".":3,"__proto__":4,"'; --":5,"a.b":6,"constructor":7,"\u0000":8}"#
                .into(),
        ),
        ("shape many keys", many_keys(2_000)),
        ("shape long array", format!("[{}0]", "0,".repeat(5_000))),
        ("exact key order", r#"{"z":1,"a":2,"m":3,"B":4,"b":5}"#.into()),
        ("exact repeated keys", r#"{"a":1,"a":2,"a":3}"#.into()),
        ("exact white space", " {\r\n\t\"a\" :  1 , \"b\":[ 1,2 ]\n} ".into()),
        ("exact escapes", r#""\u0041\/\u00e9\n\\""#.into()),
        ("exact number forms", "[1.0,1.50,1e2,1E2,1e+2,100,-0,-0.0]".into()),
        ("nul in a value", r#"{"a":"b\u0000c"}"#.into()),
        ("nul in a key", r#"{"a\u0000b":1}"#.into()),
        ("nul alone", r#""\u0000""#.into()),
        ("unicode text", "\"grüße 日本語 עברית 🦀 \u{10FFFF} \u{FFFF} \u{FEFF}\"".into()),
        ("unicode composed", "[\"caf\u{e9}\",\"cafe\u{301}\"]".into()),
        ("unicode joined", "\"👨\u{200D}👩\u{200D}👧\u{202E}\"".into()),
        ("unicode escaped pair", r#""\ud83e\udd80""#.into()),
        ("unicode controls", r#""\u0001\u001f\u007f\u0085\u2028""#.into()),
        ("depth 64", nested(64)),
        ("depth 127", nested(127)),
        ("depth 128", objects(128)),
        ("depth 129", nested(129)),
        ("depth 1000", objects(1_000)),
        ("depth 5000", nested(5_000)),
    ];
    payloads.extend(NUMBERS.iter().map(|number| ("number", (*number).to_owned())));
    payloads.push(("number in an object", format!("{{\"n\":[{}]}}", NUMBERS.join(","))));
    payloads
}

fn many_keys(count: usize) -> String {
    let keys: Vec<_> = (0..count).map(|nth| format!("\"key{nth}\":{nth}")).collect();
    format!("{{{}}}", keys.join(","))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn valid<T, E: std::fmt::Display>(made: Result<T, E>) -> T {
    made.unwrap_or_else(|error| panic!("made here to be valid: {error}"))
}
