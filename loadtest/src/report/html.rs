pub(crate) fn render(_: &super::Report) -> String {
    String::new()
}
