//! What may stand between an adapter and its server: TLS, and a pooler of transactions.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use annals::{Append, Error, Position, Query, SequenceNumber, StorageAdapter, WriteCondition};
use annals_postgres::rustls::pki_types::CertificateDer;
use annals_postgres::rustls::pki_types::pem::PemObject as _;
use annals_postgres::rustls::{ClientConfig, RootCertStore, crypto::ring};
use annals_postgres::tokio_postgres::Config;
use annals_postgres::tokio_postgres::config::SslMode;
use annals_postgres::{PostgresAdapter, PostgresOptions};
use annals_servers::PostgresServer;

use crate::common::{admin, all, append_to, assert_whole, events, fresh, open, server, stream};

fn not_run(reason: &str) {
    assert!(std::env::var("CI").map_or(true, |ci| ci != "true"), "{reason}");
    let _ = writeln!(std::io::stderr(), "NOT RUN: {reason}");
}

/// Every kind of append and read once, and many at a time.
async fn use_it(adapter: &PostgresAdapter) {
    for n in 0..3_u64 {
        let appends = (0..20).map(|k| adapter.append(append_to(&format!("o-{k}"), 3)));
        for outcome in futures_util::future::join_all(appends).await {
            outcome.unwrap();
        }
        let at = |position| WriteCondition::PositionIs(Position::new(position));
        let wrong = vec![Append::new(stream("o-1"), events(1), at(n))];
        let refused = adapter.append(wrong).await;
        assert_eq!(refused.is_err(), n * 3 + 2 != n, "{refused:?}");
    }
    let whole = all(adapter).await;
    assert_whole(&whole);
    let none_later =
        WriteCondition::no_match(Query::all(), SequenceNumber::new(whole.len() as u64 - 1));
    let late =
        adapter.append(vec![Append::new(stream("o-1"), events(1), none_later)]).await.unwrap_err();
    assert!(late.is_condition_failed(), "{late:?}");
    let repeat = vec![Append::new(
        stream("o-1"),
        [whole.first().unwrap().event.clone()],
        WriteCondition::Always,
    )];
    assert!(matches!(adapter.append(repeat).await, Err(Error::DuplicateEvent(_))));
    let large = adapter.append(append_to("large", 10_000)).await.unwrap();
    assert_eq!(large.len(), 10_000);
    assert_whole(&all(adapter).await);
}

/// A certificate of its own for the address of this machine.
fn certificate(folder: &Path) -> bool {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            "server.key",
            "-out",
            "server.crt",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .current_dir(folder)
        .stderr(Stdio::null())
        .status();
    made.is_ok_and(|made| made.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_connection() {
    if std::env::var_os("ANNALS_POSTGRES_URL").is_some() {
        return not_run("the server that is named has certificates of its own");
    }
    let server = match tokio::task::spawn_blocking(PostgresServer::start).await.unwrap() {
        Ok(server) => server,
        Err(error) => return not_run(&error.to_string()),
    };
    let data = server.data();
    if !certificate(&data) {
        return not_run("openssl is not installed");
    }
    let owner = std::fs::metadata(&data).unwrap();
    for file in ["server.key", "server.crt"] {
        chown(data.join(file), Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let client = admin(&server.url()).await.unwrap();
    client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data.join("server.crt")).unwrap()).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config: Config = server.url().parse().unwrap();
    config.ssl_mode(SslMode::Require);
    let schema = fresh();
    let options = PostgresOptions::from_config(config.clone()).with_schema(&schema).with_tls(tls);
    // The server takes a moment to read its settings again.
    while let Err(error) = options.migrate().await {
        assert!(error.is_retryable(), "{error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    config.application_name(&schema);
    let adapter = options.connect().await.unwrap();
    use_it(&adapter).await;
    let sql = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'annals'";
    let encrypted: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert!(encrypted > 0, "no connection is encrypted");
    // A certificate that nobody knows is rejected, and to try again would not help.
    let stranger = PostgresOptions::from_config(config).with_schema(&schema);
    let error = stranger.connect().await.unwrap_err();
    // `Invalid` on a machine that knows no certificate at all.
    assert!(matches!(error, Error::Backend { .. } | Error::Invalid(_)), "{error:?}");
    // The connection string may name it.
    let certificate = data.join("server.crt");
    for mode in ["verify-full", "require", "prefer"] {
        let url = format!(
            "postgres://postgres@{}/postgres?sslmode={mode}&sslrootcert={}&channel_binding=require&\
             target_session_attrs=primary&fallback_application_name=by-string",
            server.addr(),
            certificate.display(),
        );
        let named = PostgresOptions::new(&url).unwrap().with_schema(&schema);
        let named = named.connect().await;
        // The certificate's signature can be bound to the channel, but this server trusts without asking.
        let error = named.unwrap_err();
        assert!(matches!(error, Error::Backend { .. }), "{mode}: {error:?}");
        let url = url.replace("&channel_binding=require", "");
        let named = PostgresOptions::new(&url).unwrap().with_schema(&schema);
        let named = named.connect().await.unwrap();
        assert_whole(&all(&named).await);
        let sql = "SELECT count(*) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) \
                   WHERE s.ssl AND a.application_name = 'by-string'";
        let encrypted: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        assert!(encrypted > 0, "no connection is encrypted under {mode}");
        named.close().await;
    }
    adapter.close().await;
}

/// A pooler before the server, that gives each transaction another session. Dropped, it ends.
struct Pooler(Child, #[expect(dead_code, reason = "removed with it")] tempfile::TempDir);

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `ignored`: settings of a session that it drops without a word.
fn pooler(url: &str, ignored: &str) -> Option<(Pooler, Config)> {
    let server: Config = url.parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let settings = format!(
        "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n\
         ignore_startup_parameters = {ignored}\n",
        server.get_ports().first().unwrap()
    );
    let file = folder.path().join("pgbouncer.ini");
    std::fs::write(
        &file,
        settings
            .replace("* = host", &format!("{} = user=postgres host", server.get_dbname().unwrap())),
    )
    .unwrap();
    let mut command = Command::new("pgbouncer");
    command.arg("-q").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let id = Command::new("id").args(["-u", "postgres"]).output().ok()?;
    if let (Ok(uid), true) = (String::from_utf8_lossy(&id.stdout).trim().parse(), is_root()) {
        chown(folder.path(), Some(uid), None).unwrap();
        chown(&file, Some(uid), None).unwrap();
        command.uid(uid);
    }
    let child = command.spawn().ok()?;
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user(server.get_user().unwrap())
        .dbname(server.get_dbname().unwrap());
    Some((Pooler(child, folder), config))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.starts_with(b"0\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_transactions() {
    let Some(url) = server().await else { return };
    let Some((_pooler, config)) = pooler(&url, "extra_float_digits") else {
        return not_run("pgbouncer is not installed");
    };
    let options =
        PostgresOptions::from_config(config).with_schema(fresh()).with_transaction_pooler(true);
    // It takes a moment to start.
    for tries in 0.. {
        match options.migrate().await {
            Ok(()) => break,
            Err(error) => assert!(error.is_retryable() && tries < 100, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let adapter = open(options.clone()).await;
    use_it(&adapter).await;
    // Another handle, at the same time.
    let other = open(options).await;
    let both = (0..40).map(|n| {
        let adapter = if n % 2 == 0 { &adapter } else { &other };
        adapter.append(append_to(&format!("both-{}", n % 5), 2))
    });
    for outcome in futures_util::future::join_all(both).await {
        outcome.unwrap();
    }
    assert_whole(&all(&other).await);
}

/// Without its option a pooler is found out before it does harm, whether it refuses settings or drops them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_transactions_without_its_option() {
    let Some(url) = server().await else { return };
    for ignored in ["extra_float_digits", "extra_float_digits,options"] {
        let Some((_pooler, config)) = pooler(&url, ignored) else {
            return not_run("pgbouncer is not installed");
        };
        let schema = fresh();
        let unaware = PostgresOptions::from_config(config.clone()).with_schema(&schema);
        let error = loop {
            match unaware.migrate().await {
                // It takes a moment to start.
                Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                other => break other.unwrap_err(),
            }
        };
        let text = error.to_string();
        assert!(matches!(error, Error::Invalid(_)), "{ignored}: {error:?}");
        assert!(text.contains("with_transaction_pooler"), "{text}");
        let aware = unaware.clone().with_transaction_pooler(true);
        aware.migrate().await.unwrap();
        let error = unaware.connect().await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{ignored}: {error:?}");
        use_it(&aware.connect().await.unwrap()).await;
    }
}
