"""Forms that people fill in."""

from django import forms
from django.contrib.auth.forms import AuthenticationForm


class SignInForm(AuthenticationForm):
    """Name and password, in the words of our pages."""

    error_messages = {
        "invalid_login": "Name and password do not belong together. Try again, or ask the operator for a new one.",
        "inactive": "This account was closed.",
    }
    username = forms.CharField(label="Name", max_length=150)
    password = forms.CharField(label="Password", strip=False, widget=forms.PasswordInput)
