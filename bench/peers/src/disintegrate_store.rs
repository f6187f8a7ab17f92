//! disintegrate-postgres, by SQL; each client has a connection.  A tag is a domain identifier: a column with an index.
use disintegrate::{query, Event, EventStore, StreamItem};
use disintegrate_postgres::{Error, PgEventId, PgEventStore};
use disintegrate_serde::serde::json::Json;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{text, Failure, Store};

#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
enum Message {
    Loaded {
        #[id]
        tag: String,
        text: String,
    },
}

pub struct Disintegrate(PgEventStore<Message, Json<Message>>);

pub async fn connect(wanted: bool, address: &str, clients: usize) -> Result<Vec<Disintegrate>, Failure> {
    if !wanted {
        return Ok(Vec::new());
    }
    let number = clients as u32;
    // A function of its schema has a number in hexadecimal, which PostgreSQL knows since 16.
    let options = address.parse::<PgConnectOptions>()?.options([("check_function_bodies", "off")]);
    let pool = PgPoolOptions::new().min_connections(number).max_connections(number).connect_with(options).await?;
    let store = PgEventStore::try_new(pool.clone(), Json::default()).await?;
    let in_decimal: String = sqlx::query_scalar(
        "SELECT replace(pg_get_functiondef('event_store_begin_epoch'::regproc), '0xFFFFFFFF', '4294967295')",
    )
    .fetch_one(&pool)
    .await?;
    sqlx::query(&in_decimal).execute(&pool).await?;
    Ok((0..clients).map(|_| Disintegrate(store.clone())).collect())
}

impl Store for Disintegrate {
    async fn append(&self, tag: &str, after: u64) -> Result<bool, Failure> {
        let message = Message::Loaded { tag: tag.to_string(), text: text() };
        let boundary = query!(Message; tag == tag.to_string());
        match self.0.append(vec![message], boundary, after as PgEventId).await {
            Ok(_) => Ok(true),
            Err(Error::Concurrency) => Ok(false),
            // A failure to serialize that comes before the commit.
            Err(Error::Database(sqlx::Error::Database(error))) if error.code().as_deref() == Some("40001") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self, tag: &str, after: u64) -> Result<u64, Failure> {
        let since = query!(Message; tag == tag.to_string()).change_origin(after as PgEventId);
        let mut answer = self.0.stream(&since);
        let mut end = after;
        while let Some(item) = answer.next().await {
            if let StreamItem::End(epoch) = item? {
                end = epoch as u64;
            }
        }
        Ok(end)
    }
}
