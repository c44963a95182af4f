//! An authority of the tests' own, and certificates of it that are right or wrong in one way each. Knows no server.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::run_dir;

/// The name that every server's certificate has: not the address 127.0.0.1, under which the servers answer as well.
pub const HOST: &str = "localhost";

/// Certificates as PEM files in a folder that servers of any user may read.
pub struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Certified {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Both in one file, as Kafka reads them.
    pub both: PathBuf,
}

impl Certificates {
    pub fn new() -> Certificates {
        let dir = tempfile::Builder::new()
            .prefix("certificates-")
            .tempdir_in(run_dir())
            .unwrap();
        open_to_all(dir.path(), 0o755);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(
            DnType::CommonName,
            format!("authority {:08x}", rand::random::<u32>()),
        );
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Certificates {
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    /// The authority's own certificate.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// For a server on this machine.
    pub fn server(&self) -> Certified {
        self.make("server", &[HOST], false)
    }

    /// The same, but of another time.
    pub fn expired(&self) -> Certified {
        self.make("expired", &[HOST], true)
    }

    /// For a client of that name.
    pub fn client(&self, name: &str) -> Certified {
        self.make(name, &[], false)
    }

    fn make(&self, name: &str, hosts: &[&str], expired: bool) -> Certified {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |ending: &str, text: String| {
            let file = self.dir.path().join(format!("{name}.{ending}"));
            fs::write(&file, text).unwrap();
            file
        };
        Certified {
            both: file("both.pem", certificate.pem() + &key.serialize_pem()),
            certificate: file("pem", certificate.pem()),
            key: file("key", key.serialize_pem()),
        }
    }
}

/// Servers run as other users where the tests run as root.
pub fn open_to_all(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
