"""What an evaluation is made of: tasks and the parts asked of them, back ends, journals, figures and the report."""
