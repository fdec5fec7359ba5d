"""The registration of the app in Microsoft Entra ID."""
