//! The table of services, in the order of their kinds.
//!
//! Variables are those of lego, whose users have them set. What an entry says about permissions and safety is from the service's
//! documentation and from how the crate calls it; only PowerDNS can be run in the tests.

mod a_to_d;
mod e_to_i;
mod j_to_p;
mod q_to_z;

use crate::bridge::Service;

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Service> {
    [
        a_to_d::SERVICES,
        e_to_i::SERVICES,
        j_to_p::SERVICES,
        q_to_z::SERVICES,
    ]
    .into_iter()
    .flatten()
}
