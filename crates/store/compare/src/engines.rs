//! Each engine as the store would use it: every commit fsynced.

use std::error::Error;
use std::path::Path;

use fjall::{Database as Fjall, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Database as Redb, ReadableDatabase, ReadableTable, TableDefinition};
use rusqlite::Connection;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub trait Engine: Send {
    /// Returns once all values are durable under `first` and the numbers after it.
    fn append(&mut self, first: u64, values: &[Vec<u8>]) -> Result<()>;
    fn delete(&mut self, from: u64, to: u64) -> Result<()>;
    /// Shows every value, oldest first.
    fn scan(&self, each: &mut dyn FnMut(&[u8])) -> Result<()>;
}

pub fn open(engine: &str, directory: &Path) -> Result<Box<dyn Engine>> {
    Ok(match engine {
        "sqlite" => Box::new(Sqlite::open(directory, 16384)?),
        "sqlite-4k" => Box::new(Sqlite::open(directory, 4096)?),
        "redb" => Box::new(RedbFile(Redb::create(directory.join("store.redb"))?)),
        "fjall" => Box::new(FjallFile::open(directory)?),
        other => return Err(format!("no engine is called {other}").into()),
    })
}

struct Sqlite(Connection);

impl Sqlite {
    fn open(directory: &Path, page: u32) -> Result<Self> {
        let connection = Connection::open(directory.join("store.db"))?;
        connection.pragma_update(None, "page_size", page)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(
            "create table if not exists t (seq integer primary key, value blob not null)",
        )?;
        Ok(Self(connection))
    }
}

impl Engine for Sqlite {
    fn append(&mut self, first: u64, values: &[Vec<u8>]) -> Result<()> {
        let transaction = self.0.transaction()?;
        let mut insert = transaction.prepare("insert into t values (?1, ?2)")?;
        for (seq, value) in (first as i64..).zip(values) {
            insert.execute((seq, value))?;
        }
        drop(insert);
        Ok(transaction.commit()?)
    }

    fn delete(&mut self, from: u64, to: u64) -> Result<()> {
        let range = (from as i64, to as i64);
        self.0
            .execute("delete from t where seq >= ?1 and seq < ?2", range)?;
        Ok(())
    }

    fn scan(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut select = self.0.prepare("select value from t order by seq")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            each(row.get_ref(0)?.as_blob()?);
        }
        Ok(())
    }
}

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("t");

struct RedbFile(Redb);

impl Engine for RedbFile {
    fn append(&mut self, first: u64, values: &[Vec<u8>]) -> Result<()> {
        let write = self.0.begin_write()?;
        let mut table = write.open_table(TABLE)?;
        for (seq, value) in (first..).zip(values) {
            table.insert(seq, &value[..])?;
        }
        drop(table);
        Ok(write.commit()?)
    }

    fn delete(&mut self, from: u64, to: u64) -> Result<()> {
        let write = self.0.begin_write()?;
        let mut table = write.open_table(TABLE)?;
        for seq in from..to {
            table.remove(seq)?;
        }
        drop(table);
        Ok(write.commit()?)
    }

    fn scan(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let read = self.0.begin_read()?;
        for entry in read.open_table(TABLE)?.iter()? {
            each(entry?.1.value());
        }
        Ok(())
    }
}

struct FjallFile(Fjall, Keyspace);

impl FjallFile {
    fn open(directory: &Path) -> Result<Self> {
        let database = Fjall::builder(directory.join("store")).open()?;
        let keyspace = database.keyspace("t", KeyspaceCreateOptions::default)?;
        Ok(Self(database, keyspace))
    }
}

impl Engine for FjallFile {
    fn append(&mut self, first: u64, values: &[Vec<u8>]) -> Result<()> {
        let mut batch = self.0.batch().durability(Some(PersistMode::SyncData));
        for (seq, value) in (first..).zip(values) {
            batch.insert(&self.1, seq.to_be_bytes(), &value[..]);
        }
        Ok(batch.commit()?)
    }

    fn delete(&mut self, from: u64, to: u64) -> Result<()> {
        let mut batch = self.0.batch().durability(Some(PersistMode::SyncData));
        for seq in from..to {
            batch.remove(&self.1, seq.to_be_bytes());
        }
        Ok(batch.commit()?)
    }

    fn scan(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        for entry in self.1.iter() {
            each(&entry.into_inner()?.1);
        }
        Ok(())
    }
}
