"""What deploys the app: templates, pipeline, package."""
