This is {{ name }}. Questions go to {{ contact }}.
