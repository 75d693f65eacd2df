"""Writers of questions: rules over stated facts (`facts`, `offline`), and teachers (`teachers`, `pairs`)."""
