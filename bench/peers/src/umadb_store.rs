//! UmaDB, by its own client; each client has a connection.
use futures::StreamExt;
use umadb_client::{AsyncUmaDbClient, UmaDbClient};
use umadb_dcb::{DcbAppendCondition, DcbError, DcbEvent, DcbEventStoreAsync, DcbQuery, DcbQueryItem};

use crate::{text, Failure, Store};

pub struct UmaDb(AsyncUmaDbClient);

pub async fn connect(wanted: bool, address: &str, clients: usize) -> Result<Vec<UmaDb>, Failure> {
    let mut stores = Vec::new();
    for _ in 0..if wanted { clients } else { 0 } {
        stores.push(UmaDb(UmaDbClient::new(address.to_string()).connect_async().await?));
    }
    Ok(stores)
}

fn query(tag: &str) -> DcbQuery {
    DcbQuery::new().item(DcbQueryItem::new().tags([tag]))
}

impl Store for UmaDb {
    async fn append(&self, tag: &str, after: u64) -> Result<bool, Failure> {
        let event = DcbEvent::default().event_type("Loaded").tags([tag]).data(text().into_bytes());
        let condition = DcbAppendCondition::new(query(tag)).after((after > 0).then_some(after));
        match self.0.append(vec![event], Some(condition), None).await {
            Ok(_) => Ok(true),
            Err(DcbError::IntegrityError(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self, tag: &str, after: u64) -> Result<u64, Failure> {
        let mut answer = self.0.read(Some(query(tag)), Some(after + 1), false, None).await?;
        while let Some(event) = answer.next().await {
            event?;
        }
        Ok(answer.head().await?.unwrap_or(after))
    }
}
