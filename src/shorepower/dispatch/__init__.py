"""The dispatcher: takes jobs in, remembers them, hands them over, tells the news."""
