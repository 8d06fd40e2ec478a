//! Throw-away certificates, by the `openssl` program: an authority, and servers that it vouches for.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::process::{command, find, run};

const DEADLINE: Duration = Duration::from_secs(60);

/// An authority of one test.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    name: String,
}

/// A server's certificate and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

impl Authority {
    /// Makes one; its files are in `dir`, under its name.
    #[track_caller]
    pub fn new(dir: &Path, name: &str) -> Self {
        let authority = Self { dir: dir.to_owned(), name: name.to_owned() };
        let (key, cert) = (authority.file("key"), authority.ca_file());
        let mut openssl = command(find("openssl"));
        openssl.args(["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2"]);
        openssl.args(["-subj", "/CN=authority", "-addext", "keyUsage=critical,keyCertSign"]);
        openssl.arg("-keyout").arg(key).arg("-out").arg(cert);
        run(&mut openssl, DEADLINE).expect_code(0);
        authority
    }

    pub fn ca_file(&self) -> PathBuf {
        self.file("ca")
    }

    /// A certificate for `localhost` and 127.0.0.1, for both ends of a connection.
    #[track_caller]
    pub fn certificate(&self, name: &str) -> Certificate {
        let file = |kind: &str| self.dir.join(format!("{}-{name}-{kind}.pem", self.name));
        let (key_file, cert_file, request) = (file("key"), file("cert"), file("request"));
        let mut openssl = command(find("openssl"));
        openssl.args(["req", "-newkey", "ed25519", "-nodes", "-subj"]).arg(format!("/CN={name}"));
        openssl.arg("-keyout").arg(&key_file).arg("-out").arg(&request);
        run(&mut openssl, DEADLINE).expect_code(0);
        let extensions = file("extensions");
        let text = "subjectAltName=DNS:localhost,IP:127.0.0.1\n\
                    extendedKeyUsage=serverAuth,clientAuth\n";
        fs::write(&extensions, text).expect("a writable folder");
        let mut openssl = command(find("openssl"));
        openssl.args(["x509", "-req", "-days", "2", "-CAcreateserial"]);
        openssl.arg("-CA").arg(self.ca_file()).arg("-CAkey").arg(self.file("key"));
        openssl.arg("-in").arg(request).arg("-out").arg(&cert_file);
        openssl.arg("-extfile").arg(extensions);
        run(&mut openssl, DEADLINE).expect_code(0);
        Certificate { cert_file, key_file }
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{}-{kind}.pem", self.name))
    }
}
