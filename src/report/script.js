"use strict";
// The page is whole without this: it adds the theme switch, readings under the pointer, and a legend that picks a class.
(() => {
  const root = document.documentElement;
  const remember = (theme) => { try { localStorage.setItem("rusa-theme", theme); } catch { /* private window */ } };
  try { const theme = localStorage.getItem("rusa-theme"); if (theme) root.dataset.theme = theme; } catch { /* same */ }
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    remember(root.dataset.theme);
  });

  const make = (svg, name, className) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    node.setAttribute("class", className);
    return svg.appendChild(node);
  };
  for (const svg of document.querySelectorAll("svg.chart")) {
    const list = (name) => svg.dataset[name].split(" ");
    const [x, y, px, py] = [list("x"), list("y"), list("px").map(Number), list("py").map(Number)];
    const height = svg.viewBox.baseVal.height, width = svg.viewBox.baseVal.width;
    let cross, dot, tip;
    svg.addEventListener("pointermove", (event) => {
      const at = (event.clientX - svg.getBoundingClientRect().left) * width / svg.clientWidth;
      let best = 0;
      px.forEach((p, i) => { if (Math.abs(p - at) < Math.abs(px[best] - at)) best = i; });
      cross ??= make(svg, "path", "cross"); dot ??= make(svg, "circle", "dot"); tip ??= make(svg, "text", "tip");
      cross.setAttribute("d", `M${px[best]} 14V${height - 36}`);
      dot.setAttribute("cx", px[best]); dot.setAttribute("cy", py[best]); dot.setAttribute("r", 4);
      tip.textContent = `${y[best]} at ${Math.round(x[best])}`;
      const left = px[best] > width / 2;
      tip.setAttribute("x", px[best] + (left ? -8 : 8)); tip.setAttribute("y", Math.max(26, py[best] - 10));
      tip.setAttribute("text-anchor", left ? "end" : "start");
    });
    svg.addEventListener("pointerleave", () => { for (const node of [cross, dot, tip]) node?.remove(); cross = dot = tip = undefined; });
  }

  const groups = document.querySelectorAll(".map g[data-k]");
  for (const item of document.querySelectorAll(".legend li[data-k]")) {
    const dim = (on) => groups.forEach((g) => g.classList.toggle("dim", on && g.dataset.k !== item.dataset.k));
    item.addEventListener("pointerenter", () => dim(true));
    item.addEventListener("pointerleave", () => dim(false));
  }
})();
