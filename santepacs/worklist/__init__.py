"""The worklist: scheduled procedure steps from order to completion."""
