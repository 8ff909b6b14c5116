"""Lists in pages, with DigitalOcean's `links` and `meta`."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Query, Request


class Page:
    """The page asked for: `page` from 1, `per_page` up to 200 (default 20)."""

    def __init__(
        self,
        request: Request,
        page: Annotated[int, Query(ge=1)] = 1,
        per_page: Annotated[int, Query(ge=1, le=200)] = 20,
    ) -> None:
        self.request, self.page, self.per_page = request, page, per_page

    def of(self, key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
        """`{key: items of this page, "links": ..., "meta": {"total": n}}`."""
        last = max(1, -(-len(items) // self.per_page))
        pages = {}
        if self.page > 1:
            pages["first"] = self._url(1)
            pages["prev"] = self._url(min(self.page - 1, last))
        if self.page < last:
            pages["next"] = self._url(self.page + 1)
            pages["last"] = self._url(last)
        start = (self.page - 1) * self.per_page
        return {
            key: items[start : start + self.per_page],
            "links": {"pages": pages} if pages else {},
            "meta": {"total": len(items)},
        }

    def _url(self, page: int) -> str:
        other = [(k, v) for k, v in self.request.query_params.multi_items() if k not in ("page", "per_page")]
        query = urlencode([*other, ("page", page), ("per_page", self.per_page)])
        return f"{self.request.url.replace(query='')}".rstrip("?") + f"?{query}"


Paged = Annotated[Page, Depends()]
