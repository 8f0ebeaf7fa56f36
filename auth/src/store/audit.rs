//! `auth.audit_log`: who did what. Lines are added, never read, changed or removed: the service may
//! not.

use std::net::IpAddr;

use uuid::Uuid;

use crate::store::StoreError;
use crate::store::pool::Connection;

/// Origin of a request, for the log.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Client address.
    pub client: Option<IpAddr>,
    /// The id that joins this line with the proxy's and the service's.
    pub request_id: String,
}

impl Origin {
    /// Someone at the command line.
    #[must_use]
    pub fn console() -> Self {
        Self { client: None, request_id: "console".to_owned() }
    }
}

/// Adds a line: `actor` did `action` to `subject`.
///
/// # Errors
/// The database's.
pub async fn record(
    connection: &mut Connection,
    origin: &Origin,
    action: &str,
    actor: Option<Uuid>,
    subject: Option<Uuid>,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO auth.audit_log (action, actor_id, subject_id, ip, request_id) VALUES \
               ($1, $2, $3, $4::text::inet, $5)";
    let query = connection.query(sql).bind(action).bind(actor).bind(subject);
    query
        .bind(origin.client.map(|ip| ip.to_string()))
        .bind(&origin.request_id)
        .execute(connection.raw())
        .await?;
    Ok(())
}
