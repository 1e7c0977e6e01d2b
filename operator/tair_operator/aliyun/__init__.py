"""Alibaba Cloud, the adapter: how the operator's few calls are signed, sent, limited and understood.

Start reading at ``client``, which implements ``ports.Cloud``. It uses
``credentials`` and ``limiter`` before a call and ``exchange`` for it; that one
signs with ``signing``, finds the host in ``endpoints``, sends with ``wire``,
reads with ``replies`` and judges by the table in ``errors``. Text from outside
goes through ``redaction``.
"""
