//! What a page of a scan costs: one look-up for each document that it returns, whatever the server thinks of the tables.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use crate::common::{admin, fresh, open, options, server};
use annals::Payload;
use annals_postgres::PostgresOptions;
use annals_postgres::tokio_postgres::{Client, Config};
use annals_state::{
    CollectionName, Commit, DocumentKey, Expected, IndexName, Scan, StateStore, Write,
};
use futures_util::TryStreamExt;

const DOCUMENTS: u32 = 5_000;
const PER_COMMIT: u32 = 1_000;
/// How many documents scans ask for: several pages, and one in a range.
const ASKED: [u64; 2] = [1_000, 20];
/// Between two looks at the server.
const PAUSE: Duration = Duration::from_millis(50);
/// After so many looks sessions that were closed are a fault.
const LOOKS: usize = 4_000;

/// How often the keys of entries and of documents were searched, once all sessions of the adapter have reported.
async fn searched(admin: &Client, schema: &str) -> (i64, i64) {
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    let mut looks = 0;
    while admin.query_one(sessions, &[&schema]).await.unwrap().get::<_, i64>(0) > 0 {
        looks += 1;
        assert!(looks < LOOKS, "sessions of an adapter that was closed are still there");
        tokio::time::sleep(PAUSE).await;
    }
    let counts = "SELECT relname::text, idx_scan FROM pg_stat_user_indexes \
                  WHERE schemaname = $1 AND indexrelname LIKE '%\\_pkey'";
    let rows = admin.query(counts, &[&schema]).await.unwrap();
    let of = |table: &str| -> i64 {
        let row = rows.iter().find(|row| row.get::<_, &str>(0).ends_with(table));
        row.unwrap().get(1)
    };
    (of("_entries"), of("_documents"))
}

/// Options under which the server would rather ask parallel workers than anything else.
fn eager(url: &str, schema: &str) -> PostgresOptions {
    let mut config: Config = url.parse().unwrap();
    config.application_name(schema).options(
        "-c parallel_setup_cost=0 -c parallel_tuple_cost=0 -c min_parallel_index_scan_size=0 \
         -c min_parallel_table_scan_size=0 -c max_parallel_workers_per_gather=2",
    );
    PostgresOptions::from_config(config).with_schema(schema)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_looks_up_each_document_once() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let (collection, index) = (CollectionName::from_static("things"), IndexName::new("i").unwrap());
    let adapter = open(options(&url, &schema).unwrap()).await;
    for part in 0..DOCUMENTS / PER_COMMIT {
        let put = |nth: u32| {
            let key = DocumentKey::new("things", format!("n{nth}")).unwrap();
            let write = Write::put(key, Payload::json(&nth).unwrap(), Expected::Absent);
            // Neighbours in the index are none in the table.
            write.with_entry(index.clone(), (nth * 7 % DOCUMENTS).to_be_bytes().to_vec())
        };
        let numbers = part * PER_COMMIT..(part + 1) * PER_COMMIT;
        adapter.state().commit(Commit::new(numbers.map(put))).await.unwrap();
    }
    adapter.state().close().await;
    drop(adapter);
    let admin = admin(&url).await.unwrap();
    admin.batch_execute("ANALYZE").await.unwrap();

    let options = eager(&url, &schema);
    for options in [options.clone(), options.with_transaction_pooler(true)] {
        let (entries, documents) = searched(&admin, &schema).await;
        let state = options.connect().await.unwrap().state();
        let all = Scan::along(collection.clone(), index.clone());
        let range = all.clone().from(vec![0, 0, 1]).to(vec![1]);
        let mut count = 0;
        for (scan, asked) in [all, range].into_iter().zip(ASKED) {
            let pages: Vec<_> = state.scan(scan.limit(asked)).try_collect().await.unwrap();
            assert_eq!(pages.iter().map(Vec::len).sum::<usize>() as u64, asked);
            count += pages.len();
        }
        state.close().await;
        drop(state);
        let (more_entries, more_documents) = searched(&admin, &schema).await;
        assert_eq!(more_documents - documents, i64::try_from(ASKED.iter().sum::<u64>()).unwrap());
        assert_eq!(more_entries - entries, i64::try_from(count).unwrap());
    }
}
