//! The tables at the end.

use comfy_table::{CellAlignment, Table, presets::UTF8_BORDERS_ONLY};

use crate::activity::Activity;

/// Authors, files and months as text.
#[must_use]
pub fn tables(activity: &Activity, most: usize) -> String {
    let authors = activity.top_authors(most).into_iter().map(|(name, author)| {
        vec![
            name.to_owned(),
            author.commits.to_string(),
            author.added.to_string(),
            author.deleted.to_string(),
        ]
    });
    let files = activity
        .top_files(most)
        .into_iter()
        .map(|(path, changes)| vec![path.to_owned(), changes.to_string()]);
    let months = activity
        .months
        .iter()
        .rev()
        .take(most)
        .map(|(month, commits)| vec![month.clone(), commits.to_string()]);
    [
        table(&["author", "commits", "lines added", "lines deleted"], authors),
        table(&["file", "changes"], files),
        table(&["month", "commits"], months),
    ]
    .join("\n")
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}
