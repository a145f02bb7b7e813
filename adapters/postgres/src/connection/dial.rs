//! How one connection is made: its settings, its encryption and its password.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use annals::{BoxError, Error, Result};
use annals_sql::check_timeout;
use deadpool_postgres::{ConfigConnectImpl, Connect, Manager, ManagerConfig, RecyclingMethod};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding, Host, SslMode, SslNegotiation};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connection::conninfo::Roots;
use crate::connection::passwords::{Passwords, no_password};
use crate::options::PostgresOptions;

/// Marks a session that got the settings of [`configured`].
pub(crate) const SESSION_MARK: &str = "annals.session";

/// Makes connections, each with the password of its moment.
struct Dialer<T: Tls> {
    inner: ConfigConnectImpl<T>,
    passwords: Option<Passwords>,
}

/// What a pool needs of a way to encrypt.
trait Tls:
    MakeTlsConnect<
        Socket,
        Stream: Send + Sync,
        TlsConnect: Send + Sync + TlsConnect<Socket, Future: Send>,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl Tls for NoTls {}
impl Tls for MakeRustlsConnect {}

impl<T: Tls> Connect for Dialer<T> {
    fn connect(
        &self,
        config: &Config,
    ) -> BoxFuture<'_, std::result::Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let mut config = config.clone();
        async move {
            if let Some(passwords) = &self.passwords {
                match passwords.next().await {
                    Ok(password) => drop(config.password(password)),
                    Err(reason) => {
                        no_password(reason);
                        // The pool takes errors of the driver only: this one names no host, so it fails at once.
                        config = Config::new();
                    }
                }
            }
            self.inner.connect(&config).await
        }
        .boxed()
    }
}

/// What makes the connections of a pool.
pub(crate) fn manager(options: &PostgresOptions) -> Result<Manager> {
    let config = configured(options);
    let passwords = options.passwords.clone();
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    Ok(if let Some(tls) = tls(options)? {
        let inner = ConfigConnectImpl { tls: MakeRustlsConnect::new(tls) };
        Manager::from_connect(config, Dialer { inner, passwords }, recycling)
    } else {
        let inner = ConfigConnectImpl { tls: NoTls };
        Manager::from_connect(config, Dialer { inner, passwords }, recycling)
    })
}

/// Whether connections may be encrypted. `prefer`, the default of the driver, would fail on every server whose
/// certificate is not known: it counts only where the caller has said which are.
fn may_encrypt(options: &PostgresOptions) -> bool {
    match options.config.get_ssl_mode() {
        SslMode::Disable => false,
        SslMode::Prefer => options.tls.is_some() || options.roots.is_some(),
        _ => true,
    }
}

pub(crate) fn tls(options: &PostgresOptions) -> Result<Option<ClientConfig>> {
    if !may_encrypt(options) {
        return Ok(None);
    }
    if let Some(tls) = &options.tls {
        return Ok(Some(tls.clone()));
    }
    let roots = match &options.roots {
        Some(Roots::File(path)) => roots_of_file(path)?,
        Some(Roots::System) | None => roots_of_system()?,
    };
    // The provider of the process may be missing, or be none of two.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(Error::invalid)?;
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    if options.config.get_ssl_negotiation() == SslNegotiation::Direct {
        tls.alpn_protocols.push(b"postgresql".to_vec());
    }
    Ok(Some(tls))
}

fn roots_of_system() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let text = format!("the system has no certificates: {:?}", found.errors);
        return Err(Error::invalid(text));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    Ok(roots)
}

fn roots_of_file(path: &Path) -> Result<RootCertStore> {
    let unusable = |error: &dyn fmt::Display| {
        Error::invalid(format!("sslrootcert {}: {error}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))? {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() {
        return Err(unusable(&"it has no certificate"));
    }
    Ok(roots)
}

/// The settings of a connection, with the password of this moment.
pub(crate) async fn settings(options: &PostgresOptions) -> std::result::Result<Config, BoxError> {
    let mut config = configured(options);
    if let Some(passwords) = &options.passwords {
        config.password(passwords.next().await?);
    }
    Ok(config)
}

/// The settings of a connection.
fn configured(options: &PostgresOptions) -> Config {
    let mut config = options.config.clone();
    if config.get_application_name().is_none() {
        config.application_name("annals");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(options.pool_timeout);
    }
    if options.prepares() {
        // Plans do not depend on values: to plan again would cost a third of an append. So a plan that was made on a
        // small table has to be right for a large one as well: by its index. Of a limit that it does not know the planner
        // expects a tenth of the table, and parallel workers for it, which take longer to start than a page takes. What a
        // caller set comes last and wins.
        let caller = config.get_options().unwrap_or_default();
        let settings = format!(
            "-c jit=off -c plan_cache_mode=force_generic_plan -c enable_seqscan=off \
             -c max_parallel_workers_per_gather=0 -c {SESSION_MARK}=on -c row_security=off -c lock_timeout={} -c statement_timeout={} {caller}",
            options.common.lock_timeout.as_millis(),
            options.statement_timeout.as_millis(),
        );
        config.options(settings);
    }
    config
}

/// Rejects what no server could be asked with, before one is asked.
pub(crate) fn check(options: &PostgresOptions) -> Result<()> {
    options.check()?;
    let config = &options.config;
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let count = hosts.len().max(addresses.len());
    let require = |holds: bool, text: &str| {
        if holds { Ok(()) } else { Err(Error::invalid(format!("the connection: {text}"))) }
    };
    require(count > 0, "it names no host")?;
    let as_many = hosts.is_empty() || addresses.is_empty() || hosts.len() == addresses.len();
    require(as_many, "there are as many hosts as hostaddrs, or only one of both kinds")?;
    let ports = config.get_ports();
    require(ports.len() <= 1 || ports.len() == count, "there is one port, or one for each host")?;
    require(!ports.contains(&0), "a port is not 0")?;
    for host in hosts {
        let (is_empty, has_nul) = match host {
            Host::Tcp(name) => (name.is_empty(), name.contains('\0')),
            #[cfg(unix)]
            Host::Unix(path) => (false, path.as_os_str().as_encoded_bytes().contains(&0)),
        };
        require(!is_empty && !has_nul, "a host is not empty and has no NUL")?;
    }
    let texts = [
        config.get_user(),
        config.get_dbname(),
        config.get_options(),
        config.get_application_name(),
    ];
    let has_nul = texts.into_iter().flatten().any(|text| text.contains('\0'))
        || config.get_password().is_some_and(|password| password.contains(&0));
    require(!has_nul, "user, password, dbname, options and application_name have no NUL")?;
    if let Some(timeout) = config.get_connect_timeout() {
        check_timeout("connect_timeout", *timeout)?;
    }
    let (mode, encrypts) = (config.get_ssl_mode(), may_encrypt(options));
    if mode == SslMode::Require {
        let named = !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Tcp(_)));
        require(named, "sslmode=require needs the name of each host, and no socket")?;
    }
    if config.get_channel_binding() == ChannelBinding::Require {
        require(encrypts, "channel_binding=require needs encryption")?;
    }
    if encrypts && mode != SslMode::Require {
        let negotiated = config.get_ssl_negotiation() == SslNegotiation::Postgres;
        require(negotiated, "sslnegotiation=direct needs sslmode=require")?;
    }
    let leaves_machine = addresses.iter().any(|address| !address.is_loopback())
        || addresses.is_empty() && hosts.iter().any(is_remote);
    if mode == SslMode::Prefer && !encrypts && leaves_machine {
        warn_of_plain_text();
    }
    Ok(())
}

/// Whether what is sent there leaves the machine.
fn is_remote(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            let is_loopback = name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
            name != "localhost" && !is_loopback
        }
        #[cfg(unix)]
        Host::Unix(_) => false,
    }
}

fn warn_of_plain_text() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            name: "annals.plain_text",
            target: "annals",
            adapter = crate::error::NAME,
            "sslmode=prefer without with_tls or sslrootcert does not encrypt: use sslmode=require, or disable if that is meant",
        );
    });
}
