//! Worlds that make things happen: versions, conflicts, the log in sections; the same with cache and snapshots.
//! The story itself is in `src/universe.rs`.
//!
//! `cargo run --release --example universe -- [--store STORE]`
//!
//! If the environment has `UNIVERSE_PERSISTENCE`, the story is played once more, on the store that `configured` opens:
//! `UNIVERSE_PERSISTENCE=sqlite UNIVERSE_SQLITE_FILE=universe.db COMPRESSOR=zlib CIPHER_KEY=$(openssl rand -base64 32)`

use std::process::ExitCode;

use annals_domain::Env;
use annals_examples::{story, universe};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let story = async |store: &annals::EventStore, say: story::Say<'_>| {
        universe::story(store, &mut *say).await?;
        let env = Env::process("Universe");
        if std::env::var_os("UNIVERSE_PERSISTENCE").is_some() {
            universe::test_configured(&env, false).await?;
            say("the same on the store of the environment".to_owned());
        }
        Ok(())
    };
    story::run("universe", story).await
}
