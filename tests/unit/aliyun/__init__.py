"""The adapter for Alibaba Cloud, without a network."""
