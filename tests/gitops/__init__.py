"""The GitOps pack, judged by the engines of the tools that it is for."""
