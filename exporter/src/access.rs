//! Flags for being let in by Mesos: credentials and TLS.

use std::path::PathBuf;

use satellite_mesos::{AccessOptions, IdentityFiles, TlsOptions};

/// What opens Mesos. The files are read at the start and again when they change.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct AccessArgs {
    /// JSON or YAML file with credentials for Mesos: principal and secret, a token, or a
    /// DC/OS service account; read again when it changes
    #[arg(
        long = "mesos.credentials-file",
        env = "SATELLITE_MESOS_CREDENTIALS_FILE",
        value_name = "FILE"
    )]
    credentials_file: Option<PathBuf>,

    /// PEM file with the only CA that is trusted for Mesos; without it the machine's are
    #[arg(long = "mesos.tls.ca-file", env = "SATELLITE_MESOS_TLS_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// PEM file with the certificate to show to Mesos
    #[arg(
        long = "mesos.tls.cert-file",
        env = "SATELLITE_MESOS_TLS_CERT_FILE",
        value_name = "FILE"
    )]
    cert_file: Option<PathBuf>,

    /// PEM file with the key of that certificate
    #[arg(long = "mesos.tls.key-file", env = "SATELLITE_MESOS_TLS_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Take any certificate of Mesos's: whoever gets in between then reads the credentials
    #[arg(
        long = "mesos.tls.insecure-skip-verify",
        env = "SATELLITE_MESOS_TLS_INSECURE_SKIP_VERIFY"
    )]
    insecure_skip_verify: bool,
}

impl AccessArgs {
    /// What the flags say. The files themselves are judged by whoever reads them.
    pub(crate) fn into_options(self) -> Result<AccessOptions, String> {
        let Self { credentials_file, ca_file, cert_file, key_file, insecure_skip_verify } = self;
        let identity = match (cert_file, key_file) {
            (None, None) => None,
            (Some(cert_file), Some(key_file)) => Some(IdentityFiles { cert_file, key_file }),
            (Some(_), None) => {
                return Err("--mesos.tls.cert-file: wants --mesos.tls.key-file".into());
            }
            (None, Some(_)) => {
                return Err("--mesos.tls.key-file: wants --mesos.tls.cert-file".into());
            }
        };
        let tls = TlsOptions { ca_file, identity, insecure_skip_verify };
        Ok(AccessOptions { credentials_file, tls })
    }
}
