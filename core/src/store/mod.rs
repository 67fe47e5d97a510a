//! What outlives a run: accounts, certificate heads, versions; and the locks that keep runs apart.

mod cert_id;

pub use cert_id::CertId;
pub use cert_id::CertIdError;
