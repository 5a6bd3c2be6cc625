"use strict";
(() => {
  const said = document.querySelector("#said");
  const all = (selector, where = document) => [...where.querySelectorAll(selector)];

  // Sorting: a button in each head; texts by the rules of the language, numbers by size, what has
  // no number last.
  const key = (body, column) => {
    const cell = body.rows[0].cells[column];
    return cell.dataset.value ?? cell.textContent.trim();
  };
  const compare = (a, b, sign) => {
    const [x, y] = [Number(a), Number(b)];
    const [lacksX, lacksY] = [a === "" || Number.isNaN(x), b === "" || Number.isNaN(y)];
    if (!lacksX && !lacksY) return sign * (x - y);
    if (lacksX && lacksY) return sign * a.localeCompare(b, "en", { numeric: true });
    return lacksX ? 1 : -1;
  };
  const sort = (head) => {
    const table = head.closest("table");
    const column = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    all("th[aria-sort]", table.tHead).forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    [...table.tBodies]
      .map((body) => [key(body, column), body])
      .sort(([a], [b]) => compare(a, b, up ? 1 : -1))
      .forEach(([, body]) => table.append(body));
    said.textContent = `sorted by ${head.textContent.trim()}, ${up ? "ascending" : "descending"}`;
  };
  all("thead button").forEach((button) =>
    button.addEventListener("click", () => sort(button.closest("th"))));

  // Details of a row.
  all(".open").forEach((button) => {
    const more = document.getElementById(button.getAttribute("aria-controls"));
    more.hidden = true;
    button.addEventListener("click", () => {
      more.hidden = !more.hidden;
      button.setAttribute("aria-expanded", String(!more.hidden));
    });
  });

  // Filter by paper and by verdict.
  const [paper, verdict] = [document.querySelector("#paper"), document.querySelector("#verdict")];
  const filter = () => {
    let shown = 0;
    all(".chapter").forEach((chapter) => {
      chapter.hidden = paper.value !== "" && chapter.id !== paper.value;
      all(".result", chapter).forEach((result) => {
        let kept = verdict.value === "";
        all("[data-verdict]", result).forEach((part) => {
          const fits = verdict.value === "" || part.dataset.verdict === verdict.value;
          part.hidden = !fits;
          kept ||= fits;
          if (fits && !chapter.hidden) shown += Number(part.dataset.count ?? 1);
          if (part.tagName === "DETAILS") part.open = verdict.value === "missing";
        });
        all(".scroll", result).forEach((box) => {
          box.hidden = all("tbody", box).every((body) => body.hidden);
        });
        result.hidden = !kept;
      });
    });
    document.querySelector("#shown").textContent = `${shown} numbers`;
  };
  [paper, verdict].forEach((choice) => choice.addEventListener("change", filter));
  document.querySelector("#filter").hidden = false;
  filter();
})();
