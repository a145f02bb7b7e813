//! What lies in a database: its rows and its files.

use std::path::Path;

/// What lies in a database, as its rows and as its files.
pub(crate) trait Bytes {
    /// All rows that can be read now.
    async fn rows(&self) -> Vec<u8>;
    /// The data files, after the database wrote everything into them; if `compact`, after it made its tables anew.
    async fn files(&self, compact: bool) -> Vec<u8>;
}

/// How often `wanted` is in `bytes`.
pub(crate) fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).filter(|window| *window == wanted).count()
}

/// The file of an SQLite database, alone in its folder.
pub(crate) struct File<'a>(pub(crate) &'a Path);

impl File<'_> {
    fn connect(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.0).unwrap()
    }
}

impl Bytes for File<'_> {
    async fn rows(&self) -> Vec<u8> {
        let connection = self.connect();
        let mut bytes = Vec::new();
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
        let mut tables = connection.prepare(tables).unwrap();
        let names: Vec<String> =
            tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        for name in names {
            let mut all = connection.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
            let columns = all.column_count();
            let mut rows = all.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                for column in 0..columns {
                    match row.get_ref(column).unwrap() {
                        rusqlite::types::ValueRef::Text(value)
                        | rusqlite::types::ValueRef::Blob(value) => bytes.extend_from_slice(value),
                        _ => {}
                    }
                    bytes.push(b'\n');
                }
            }
        }
        bytes
    }

    async fn files(&self, compact: bool) -> Vec<u8> {
        let connection = self.connect();
        if compact {
            connection.execute_batch("PRAGMA secure_delete = ON; VACUUM;").unwrap();
        }
        let busy: i64 =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0, "nobody reads");
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(self.0.parent().unwrap()).unwrap() {
            bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        bytes
    }
}

/// A schema of a PostgreSQL database.
pub(crate) struct Schema {
    pub(crate) client: annals_postgres::tokio_postgres::Client,
    pub(crate) name: String,
}

impl Schema {
    async fn tables(&self) -> Vec<String> {
        let tables = "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname = $1";
        let rows = self.client.query(tables, &[&self.name]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

impl Bytes for Schema {
    async fn rows(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for table in self.tables().await {
            // As text, bytes are hexadecimal: as they are, too.
            let columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = $1 AND quote_ident(table_schema) || '.' || quote_ident(table_name) = $2";
            for column in self.client.query(columns, &[&self.name, &table]).await.unwrap() {
                let (name, kind): (String, String) = (column.get(0), column.get(1));
                let value = match kind.as_str() {
                    "bytea" => format!("\"{name}\""),
                    _ => format!("convert_to(\"{name}\"::text, 'UTF8')"),
                };
                let all = format!("SELECT {value} FROM {table}");
                for row in self.client.query(&all, &[]).await.unwrap() {
                    bytes.extend(row.get::<_, Option<Vec<u8>>>(0).unwrap_or_default());
                    bytes.push(b'\n');
                }
            }
        }
        bytes
    }

    async fn files(&self, compact: bool) -> Vec<u8> {
        if compact {
            for table in self.tables().await {
                self.client.batch_execute(&format!("VACUUM FULL {table}")).await.unwrap();
            }
        }
        self.client.batch_execute("CHECKPOINT").await.unwrap();
        // Tables, their indexes, and where long values are.
        let files = "SELECT pg_read_binary_file(pg_relation_filepath(c.oid)) FROM pg_class c \
            WHERE c.relkind IN ('r', 'i', 't') AND (c.relnamespace = $1::text::regnamespace OR c.oid IN \
            (SELECT reltoastrelid FROM pg_class t WHERE t.relnamespace = $1::text::regnamespace))";
        let rows = self.client.query(files, &[&self.name]).await.unwrap();
        rows.iter().flat_map(|row| row.get::<_, Vec<u8>>(0)).collect()
    }
}
