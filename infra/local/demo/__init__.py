"""The demo: plays one outage on the embedded cloud and says whether Twinspan's promise held."""
