//! The faults: what is put in the place of what, and the checks that must fail.

/// What a fault is about, as in the list of what the suite once missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Sizes and bounds that few calls reach.
    Sizes,
    /// Pages that are cut by bytes or looks.
    Pages,
    /// What a failed call leaves behind.
    AfterFailure,
    /// What an acknowledgement promises.
    Durability,
    /// Times, their zones and their fractions.
    Times,
    /// Several handles or processes on one store.
    Handles,
    /// Follows, and how far pages claim to have come.
    Follows,
    /// The scopes of the weaker orders.
    Scopes,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Sizes,
        Self::Pages,
        Self::AfterFailure,
        Self::Durability,
        Self::Times,
        Self::Handles,
        Self::Follows,
        Self::Scopes,
    ];
}

/// A text of a file, and what is put in its place.
pub(crate) struct Edit {
    pub(crate) file: &'static str,
    pub(crate) old: &'static str,
    pub(crate) new: &'static str,
}

/// A fault, and what must catch it.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) edits: &'static [Edit],
    pub(crate) package: &'static str,
    pub(crate) test: &'static str,
    pub(crate) caught_by: &'static [&'static str],
    /// Something never comes: a limit of time is all that can catch it, however busy the machine is.
    pub(crate) hangs: bool,
}

/// The word before `by` in a row.
macro_rules! hangs {
    (caught) => {
        false
    };
    (late) => {
        true
    };
}

/// A row of the table.
macro_rules! faults {
    ($(
        $name:ident: $kind:ident of $package:literal $test:literal
            $($file:literal: $old:literal => $new:literal;)+
            $caught:ident by [$($check:literal),*]
    )*) => {
        pub(crate) const FAULTS: &[Fault] = &[$(Fault {
            name: stringify!($name),
            kind: Kind::$kind,
            edits: &[$(Edit { file: $file, old: $old, new: $new }),+],
            package: $package,
            test: $test,
            caught_by: &[$($check),*],
            hangs: hangs!($caught),
        }),*];
    };
}

faults! {
    // The memory adapter.

    memory_knows_the_first_ids_of_a_call: Sizes of "annals-memory" "conformance"
        "adapters/memory/src/append.rs": "events().find(|event| self.has(&event.id))"
            => "events().take(256).find(|event| self.has(&event.id))";
        caught by ["idem.late_duplicate"]

    memory_ends_at_its_budget: Pages of "annals-memory" "conformance"
        "adapters/memory/src/scan.rs": "if next(&lists).is_none() {"
            => "if next(&lists).is_none() || budget == 0 {";
        caught by ["scan.sparse"]

    memory_rings_for_one_stream: Follows of "annals-memory" "conformance"
        "adapters/memory/src/lib.rs": "self.bell.ring(written.filter_map("
            => "self.bell.ring(written.take(1).filter_map(";
        late by ["follow.wakes"]

    memory_claims_the_head_of_now: Follows of "annals-memory" "conformance"
        "adapters/memory/src/scan.rs": "Page::new(events, self.options.end(self.head)).at_head()"
            => "Page::new(events, self.options.end(log.head())).at_head()";
        caught by ["through.appending"]

    // What the adapters of databases share, in SQLite.

    sql_ends_at_a_cut_page: Pages of "annals-sqlite" "conformance"
        "adapters/sql/src/scan.rs": "(full || cut) && !self.ends_at(last)"
            => "full && !self.ends_at(last)";
        caught by ["through.bytes"]

    sql_counts_no_cut_page: Pages of "annals-sqlite" "conformance"
        "adapters/sql/src/scan.rs": "self.left = self.left.saturating_sub(events.len() as u64);"
            => "self.left = self.left.saturating_sub(if cut { 0 } else { events.len() as u64 });";
        caught by ["through.bytes"]

    sql_cuts_times_towards_1970: Times of "annals-sqlite" "conformance"
        "adapters/sql/src/row.rs": "time.unix_timestamp_nanos().div_euclid(1_000)"
            => "time.unix_timestamp_nanos() / 1_000";
        caught by ["time.range"]

    // SQLite.

    sqlite_syncs_nothing: Durability of "annals-sqlite" "conformance"
        "adapters/sqlite/src/connect.rs": "Synchronous::Full => \"FULL\"" => "Synchronous::Full => \"OFF\"";
        caught by ["dur.power_loss"]

    sqlite_syncs_checkpoints: Durability of "annals-sqlite" "conformance"
        "adapters/sqlite/src/options.rs": "synchronous: Synchronous::Full,"
            => "synchronous: Synchronous::Normal,";
        caught by ["dur.power_loss"]

    sqlite_remembers_names_rolled_back: AfterFailure of "annals-sqlite" "conformance"
        "adapters/sqlite/src/read/session.rs": "        self.ids.clear();\n" => "";
        caught by ["append.refused_names"]

    sqlite_remembers_the_head_rolled_back: AfterFailure of "annals-sqlite" "conformance"
        "adapters/sqlite/src/write/log.rs": "        self.streams.clear();\n        self.head = None;"
            => "        self.streams.clear();";
        caught by ["append.burst"]

    sqlite_sees_no_other_handle: Handles of "annals-sqlite" "conformance"
        "adapters/sqlite/src/write/log.rs": "Ok(self.head.is_none() || self.session.data_version()? != self.data_version)"
            => "Ok(self.head.is_none())";
        caught by ["vis.two_handles", "model.sequential"]

    sqlite_locks_late: Handles of "annals-sqlite" "conformance"
        "adapters/sqlite/src/write/log.rs": "execute(\"BEGIN IMMEDIATE\")" => "execute(\"BEGIN\")";
        caught by ["proc.conditions"]

    sqlite_cuts_times_to_milliseconds: Times of "annals-sqlite" "conformance"
        "adapters/sqlite/src/write/log.rs": "to_micros(event.occurred_at),"
            => "to_micros(event.occurred_at) / 1_000 * 1_000,";
        caught by ["time.precision"]

    // PostgreSQL.

    postgres_commits_later: Durability of "annals-postgres" "conformance"
        "adapters/postgres/src/connection/dial.rs": "-c jit=off -c" => "-c synchronous_commit=off -c jit=off -c";
        caught by ["fault.kill_server"]

    postgres_keeps_times_without_zone: Times of "annals-postgres" "conformance"
        "adapters/postgres/src/schema/sql/v1.sql": "    occurred_at     timestamptz NOT NULL," => "    occurred_at     timestamp NOT NULL,";
        "adapters/sql/src/row.rs": "e.occurred_at" => "e.occurred_at::timestamptz";
        caught by ["time.zones"]

    postgres_looks_up_a_thousand_names: Sizes of "annals-postgres" "conformance"
        "adapters/postgres/src/schema/statements.rs": "FROM {names} WHERE name = ANY($1)\"" => "FROM {names} WHERE name = ANY($1) LIMIT 1000\"";
        caught by ["scan.many_parts"]

    postgres_sends_a_lost_commit_again: AfterFailure of "annals-postgres" "conformance"
        "adapters/postgres/src/append/writer.rs": "Some(sent) => Trouble::Open(failure, sent)," => "Some(_) => Trouble::Lost(failure),";
        caught by ["fault.cut_sweep"]

    postgres_lands_behind_a_failed_batch: AfterFailure of "annals-postgres" "conformance"
        "adapters/postgres/src/append/flight.rs": "let last = plan.facts.last.or(log.last).filter(|_| head > 0);"
            => "let last = plan.facts.last.or(log.last).filter(|_| false);";
        caught by ["append.behind_failed"]

    postgres_refuses_on_another_log: AfterFailure of "annals-postgres" "conformance"
        "adapters/postgres/src/append/flight.rs": "(same.unwrap_or(false), Ok(found?))" => "(same.unwrap_or(false) || true, Ok(found?))";
        caught by ["vis.two_handles"]

    postgres_locks_one_stream_of_a_call: Handles of "annals-postgres" "conformance_stream"
        "adapters/postgres/src/append/locks.rs": "    keys.sort_unstable();\n" => "    keys.sort_unstable();\n    keys.truncate(1);\n";
        caught by ["cond.gated"]

    postgres_claims_the_head_of_the_log: Follows of "annals-postgres" "conformance_category"
        "adapters/postgres/src/read/reader.rs": "Some(scope) => self.last_of(session, &scope).await?,"
            => "Some(_) => self.last(session).await?,";
        caught by ["r2.gated"]

    postgres_takes_its_first_look_for_known: Follows of "annals-postgres" "conformance"
        "adapters/postgres/src/follow/watcher.rs": "if was.is_none() || !goes_on {" => "if !goes_on {";
        late by ["follow.first_look", "history.first_look"]

    postgres_trusts_notifications: Follows of "annals-postgres" "conformance"
        "adapters/postgres/src/follow/watcher.rs": "            self.tell().await?;\n"
            => "            tokio::time::sleep(FIRST_LOOK * 10).await;\n            self.tell().await?;\n";
        "adapters/postgres/src/follow/watcher.rs": "} else if is_due || (has_changed && !(told && self.hears())) {"
            => "} else if has_changed && !(told || is_due || self.hears()) {";
        "adapters/postgres/src/follow/watcher.rs": "self.listens_since.is_some_and(|since| since.elapsed() >= 2 * LOOK)"
            => "self.listens_since.is_some()";
        late by ["proc.follow_killed"]

    postgres_locks_categories_for_streams: Scopes of "annals-postgres" "conformance_stream"
        "adapters/postgres/src/append/locks.rs": "&[\"stream\", category, write.stream.name.as_str()]"
            => "&[\"stream\", category]";
        caught by ["order.held_scope"]

    postgres_waits_for_what_is_held: Scopes of "annals-postgres" "conformance_category"
        "adapters/postgres/src/append/transact.rs": "{ &sql.lock } else { &sql.try_lock }" => "{ &sql.lock } else { &sql.lock }";
        caught by ["order.held_scope"]

    // The file adapter of the guide.

    file_syncs_nothing: Durability of "annals-file" "power_loss"
        "examples/write_an_adapter/src/log.rs": "self.file.sync_data()" => "Ok(())";
        caught by ["dur.power_loss"]

    file_reads_only_its_own: Handles of "annals-file" "conformance"
        "examples/write_an_adapter/src/lib.rs": "            turn.catch_up()?;\n" => "";
        caught by ["vis.two_handles"]

    file_looks_for_no_other_process: Follows of "annals-file" "conformance"
        "examples/write_an_adapter/src/lib.rs": "let _ = tokio::time::timeout(LOOK_EVERY, ring).await;"
            => "ring.await;";
        late by ["proc.follow"]

    file_counts_bytes_in_23_bits: Sizes of "annals-file" "conformance"
        "examples/write_an_adapter/src/record.rs": "file.take(batch_bytes)" => "file.take(batch_bytes & 0x7F_FFFF)";
        caught by ["append.weight"]
}
