//! Why two ends come to no secure connection, in words a person can act on.

use std::{error::Error as StdError, io, path::Path};

use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::{
    ConnectError as ClientError,
    rustls::{CertificateError, Error as RustlsError, pki_types::CertificateDer},
};

use crate::connection::ConnectError;

/// A CA file that cannot be used is told before anything is tried with it.
pub(crate) fn check_ca_file(path: &Path) -> Result<(), ConnectError> {
    let refuse = |reason: String| ConnectError::Ca { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(found) if !found.is_empty() => Ok(()),
        Ok(_) => Err(refuse("it holds no certificate; it must be PEM".into())),
        Err(error) => Err(refuse(format!("its PEM is broken: {error}"))),
    }
}

/// What is wrong between the two ends, if it is something that time does not mend. A handshake that
/// breaks off because the broker goes away is not.
pub(crate) fn trouble(error: &ClientError) -> Option<String> {
    let why = match rustls_error(error)? {
        RustlsError::InvalidCertificate(why) => match why {
            // The second: an authority of the same name with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is of an authority that is not trusted here; name that \
                 authority's file by --ca-file or [nats] ca_file"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired, or the clock here is wrong"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name than the one in the URL"
            }
            other => return Some(format!("its certificate is refused: {other:?}")),
        },
        RustlsError::InvalidMessage(_) => "it does not speak TLS on this port",
        RustlsError::AlertReceived(alert) => return Some(format!("it refused: {alert:?}")),
        _ => return None,
    };
    Some(why.to_owned())
}

/// The TLS library's own error, however deep the client has put it.
fn rustls_error(error: &ClientError) -> Option<&RustlsError> {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<RustlsError>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => match inner.downcast_ref::<RustlsError>() {
                Some(found) => return Some(found),
                None => inner.source(),
            },
            None => error.source(),
        };
    }
    None
}
