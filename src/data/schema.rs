//! The schema: what a file was read as, so that another one can be read the same way.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cifar;
use super::range::Scale;
use super::reading::{Format, Normalize, is_delimiter};
use super::rules::repeated;
use super::text::Text;
use super::width::product;
use crate::{Error, Result};

/// What a file was read as: format, shape, classes, columns with their categories and ranges.
///
/// [`read_like`](super::read_like) reads another file, say the test records, in exactly this way. A schema can be
/// serialised beside a trained model; it is checked when it is read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Schema {
    format: Option<Format>,
    shape: Vec<usize>,
    classes: Vec<String>,
    #[serde(default)]
    element: Option<Element>,
    #[serde(default)]
    range: Option<(f64, f64)>,
    #[serde(default)]
    normalize: Normalize,
    #[serde(default)]
    table: Option<Table>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Text>,
}

/// The type of the elements of an IDX file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Element {
    U8,
    I8,
    I16,
    I32,
    F32,
    F64,
}

/// How a CSV file is laid out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) header: bool,
    pub(super) delimiter: char,
    pub(super) skip_lines: usize,
    pub(super) missing: Vec<String>,
    pub(super) columns: Vec<Column>,
}

/// One column of a CSV file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What the cells of a column become.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The class.
    Label,
    /// Nothing.
    Ignored,
    /// One feature, and a second one that is 1 where the value is missing if `missing` is set.
    Numeric { range: Option<(f64, f64)>, missing: bool },
    /// One feature a category.
    Categorical { values: Vec<String>, declared: bool },
}

impl Kind {
    /// The number of features the column becomes.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Label | Self::Ignored => 0,
            Self::Numeric { missing, .. } => 1 + usize::from(*missing),
            Self::Categorical { values, .. } => values.len(),
        }
    }
}

impl Schema {
    /// The schema of records that come from no file.
    pub(super) fn in_memory(shape: Vec<usize>, classes: Vec<String>) -> Self {
        Self {
            format: None,
            shape,
            classes,
            element: None,
            range: None,
            normalize: Normalize::None,
            table: None,
            text: None,
        }
    }

    /// The schema of a LIBSVM file, or the start of another format's.
    pub(super) fn of_file(
        format: Format,
        shape: Vec<usize>,
        classes: Vec<String>,
        range: Option<(f64, f64)>,
        normalize: Normalize,
    ) -> Self {
        Self { format: Some(format), range, normalize, ..Self::in_memory(shape, classes) }
    }

    /// The same with the element type of an IDX file.
    pub(super) fn with_element(self, element: Element) -> Self {
        Self { element: Some(element), ..self }
    }

    /// The same with the layout of a CSV file.
    pub(super) fn with_table(self, table: Table) -> Self {
        Self { table: Some(table), ..self }
    }

    /// The same with the tokens of a text file.
    pub(super) fn with_text(self, text: Text) -> Self {
        Self { text: Some(text), ..self }
    }

    /// The format of the file; `None` if the records were made in memory.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// The shape of one record.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of values of one record.
    pub fn width(&self) -> usize {
        // The product was checked for overflow when the shape was set.
        self.shape.iter().product()
    }

    /// The names of the classes, in the order of their numbers.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The public range of the values that have no range of their own.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    /// What is done to each record after it is read.
    pub fn normalize(&self) -> Normalize {
        self.normalize
    }

    /// A name for each of the [`width`](Self::width) features: the column, `column=category` or `column is missing`
    /// for CSV files, and otherwise the index counted from one.
    pub fn feature_names(&self) -> Vec<String> {
        let Some(table) = &self.table else {
            return (1..=self.width()).map(|index| index.to_string()).collect();
        };
        let mut names = Vec::with_capacity(self.width());
        for Column { name, kind } in &table.columns {
            match kind {
                Kind::Label | Kind::Ignored => {}
                Kind::Numeric { missing, .. } => {
                    names.push(name.clone());
                    names.extend(missing.then(|| format!("{name} is missing")));
                }
                Kind::Categorical { values, .. } => names.extend(values.iter().map(|value| format!("{name}={value}"))),
            }
        }
        names
    }

    pub(super) fn element(&self) -> Option<Element> {
        self.element
    }

    pub(super) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    pub(super) fn text(&self) -> Option<&Text> {
        self.text.as_ref()
    }

    /// Whether records are texts whose tokens are to be foretold, and there are no classes.
    pub(super) fn is_of_windows(&self) -> bool {
        self.text.as_ref().is_some_and(|text| text.layout.is_none())
    }

    /// Replaces the shape by one of the same product.
    pub(super) fn set_shape(&mut self, shape: Vec<usize>) {
        self.shape = shape;
    }

    /// Whether the parts agree: a schema that comes from outside could say anything.
    fn check(&self) -> Result<()> {
        let refuse = |found: String, allowed: &str| Err(Error::value("schema", found, allowed));
        let width = product(&self.shape)?;
        if width == 0 {
            return refuse(format!("shape {:?}", self.shape), "a shape without zeros");
        }
        if self.is_of_windows() != self.classes.is_empty() {
            return refuse(format!("{} class(es)", self.classes.len()), "classes, but for a language model");
        }
        if self.classes.len() < 2 && !self.is_of_windows() {
            return refuse(format!("{} class(es)", self.classes.len()), "at least two classes");
        }
        if let Some(name) = repeated(&self.classes) {
            return refuse(format!("class {name} twice"), "classes that differ");
        }
        self.range.map(Scale::new).transpose()?;
        if (self.format == Some(Format::Csv)) != self.table.is_some() {
            return refuse("a table".into(), "a table for CSV files and for no others");
        }
        if self.format == Some(Format::Cifar10) && (width != cifar::VALUES || self.classes != cifar::CLASSES) {
            return refuse("a shape or classes".into(), "those of CIFAR-10 for its format");
        }
        if (self.format == Some(Format::Idx)) != self.element.is_some() {
            return refuse("an element type".into(), "an element type for IDX files and for no others");
        }
        if (self.format == Some(Format::Text)) != self.text.is_some() {
            return refuse("a vocabulary".into(), "a vocabulary for text files and for no others");
        }
        self.text.as_ref().map_or(Ok(()), |text| text.check(&self.shape))?;
        self.table.as_ref().map_or(Ok(()), |table| table.check(width))
    }
}

impl Table {
    fn check(&self, width: usize) -> Result<()> {
        let refuse = |found: String, allowed: String| Err(Error::value("schema", found, allowed));
        if !is_delimiter(self.delimiter) {
            return refuse(format!("delimiter {:?}", self.delimiter), super::reading::DELIMITERS.into());
        }
        let labels = self.columns.iter().filter(|column| column.kind == Kind::Label).count();
        if labels != 1 {
            return refuse(format!("{labels} label columns"), "one label column".into());
        }
        let total = self.columns.iter().try_fold(0usize, |sum, column| sum.checked_add(column.kind.width()));
        if total != Some(width) {
            return refuse(format!("columns of {total:?} features"), format!("{width}, the product of the shape"));
        }
        for column in &self.columns {
            match &column.kind {
                Kind::Numeric { range, .. } => drop(range.map(Scale::new).transpose()?),
                Kind::Categorical { values, .. } => {
                    if let Some(value) = repeated(values) {
                        return refuse(
                            format!("{value} twice in column {}", column.name),
                            "different categories".into(),
                        );
                    }
                }
                Kind::Label | Kind::Ignored => {}
            }
        }
        Ok(())
    }
}

// `remote = "Self"` makes the derives inherent functions, so that reading can check what it has read.
impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let schema = Self::deserialize(deserializer)?;
        schema.check().map_err(serde::de::Error::custom)?;
        Ok(schema)
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn csv() -> Schema {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let column = |name: &str, kind| Column { name: name.into(), kind };
        let columns = vec![
            column("age", Kind::Numeric { range: Some((0.0, 120.0)), missing: true }),
            column("id", Kind::Ignored),
            column("work", Kind::Categorical { values: names(&["a", "b"]), declared: true }),
            column("y", Kind::Label),
        ];
        let table = Table { header: true, delimiter: ',', skip_lines: 0, missing: names(&["?"]), columns };
        Schema::of_file(Format::Csv, vec![4], names(&["no", "yes"]), None, Normalize::None).with_table(table)
    }

    #[test]
    fn survives_json() {
        let text = serde_json::to_string(&csv()).unwrap();
        assert_eq!(serde_json::from_str::<Schema>(&text).unwrap(), csv());
        assert_eq!(csv().feature_names(), ["age", "age is missing", "work=a", "work=b"]);
    }

    #[test]
    fn a_schema_that_contradicts_itself_is_refused() {
        let good = serde_json::to_value(csv()).unwrap();
        let broken = |path: &str, value: serde_json::Value| {
            let mut schema = good.clone();
            *schema.pointer_mut(path).unwrap() = value;
            serde_json::from_value::<Schema>(schema).unwrap_err().to_string()
        };
        assert!(broken("/shape", serde_json::json!([5])).contains("the product of the shape"));
        assert!(broken("/shape", serde_json::json!([0])).contains("without zeros"));
        assert!(broken("/shape", serde_json::json!([u64::MAX, 8])).contains("shape = "));
        assert!(broken("/classes", serde_json::json!(["a"])).contains("at least two classes"));
        assert!(broken("/classes", serde_json::json!(["a", "a"])).contains("class a twice"));
        assert!(broken("/format", serde_json::json!("libsvm")).contains("a table for CSV"));
        assert!(broken("/element", serde_json::json!("u8")).contains("IDX"));
        assert!(broken("/table/delimiter", serde_json::json!("\"")).contains("delimiter"));
        assert!(broken("/table/columns/1/kind", serde_json::json!("label")).contains("2 label columns"));
        let twice = serde_json::json!({"categorical": {"values": ["a", "a"], "declared": true}});
        assert!(broken("/table/columns/2/kind", twice).contains("a twice in column work"));
    }
}
