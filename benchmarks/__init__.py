"""How fast it is, beside what people use today and beside the least that any code must do."""
