"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plane = JSON.parse(document.getElementById("plane").textContent);
  const by = (id) => document.getElementById(id);
  const number = (v) => {
    if (v === null) return "∞";
    const a = Math.abs(v);
    return a >= 100 && a < 1e5 ? v.toFixed(0) : String(Number(v.toPrecision(3)));
  };
  const x = (d) => plane.left + (d / plane.dMax) * (plane.width - plane.left - plane.right);
  const y = (gold) => plane.top + ((plane.high - gold) / (plane.high - plane.low)) * (plane.height - plane.top - plane.bottom);
  const line = (d, gold) => "M" + d.map((v, i) => x(v).toFixed(1) + "," + y(gold[i]).toFixed(1)).join("L");
  const at = (kl) => Math.sqrt(kl === null ? data.klMax : Math.min(kl, data.klMax));

  const draw = () => {
    const item = data.items[Number(by("item").value)];
    const rule = by("rule").value;
    const level = Number(by("level").value);
    const [lo, median, hi] = item.band;
    by("band").setAttribute("d", line(data.d, hi) + "L" + line([...data.d].reverse(), [...lo].reverse()).slice(1) + "Z");
    by("median").setAttribute("d", line(data.d, median));
    const floor = plane.height - plane.bottom;
    const [from, middle, to] = item.peak;
    by("peak").setAttribute("x", x(at(from)));
    by("peak").setAttribute("y", plane.top);
    by("peak").setAttribute("width", Math.max(x(at(to)) - x(at(from)), 1));
    by("peak").setAttribute("height", floor - plane.top);
    const [kl, gold, past] = item.stops[rule][level];
    by("stopline").setAttribute("d", "M" + x(at(kl)) + "," + plane.top + "V" + floor);
    const text = by("stoptext");
    const right = at(kl) > 0.7 * plane.dMax;
    text.setAttribute("x", x(at(kl)) + (right ? -6 : 6));
    text.setAttribute("y", floor - 8);
    text.setAttribute("text-anchor", right ? "end" : "start");
    text.textContent = kl === null ? "no stop" : "stop at KL " + number(kl);
    by("itemtext").textContent = item.label;
    const none = rule === "expected";
    by("leveltext").textContent = none ? "none: this rule has no level" : String(data.levels[level]);
    by("level").disabled = none;
    const stop = document.createElement("b");
    stop.id = "stop";
    stop.textContent = kl === null ? "no reason to stop up to KL " + number(data.klMax) : "stop at KL " + number(kl) + " nats";
    const peak = middle === null ? "no peak up to KL " + number(data.klMax) + " (median)" : "peak at KL " + number(middle);
    by("said").replaceChildren(
      item.label + ": ", stop,
      `. Median gold there ${number(gold)}, probability of being past the peak ${past.toFixed(2)}; ${peak}, ` +
      `${100 * data.prob} % interval ${number(from)} to ${number(to)}` + (item.extrapolated ? "; extrapolated." : "."));
  };
  for (const id of ["item", "rule", "level"]) by(id).addEventListener("input", draw);
  draw();

  const tip = by("tip");
  let on = null;
  const show = (circle) => {
    if (on) on.classList.remove("on");
    on = circle;
    tip.textContent = circle ? circle.dataset.tip : "";
    if (!circle) return;
    circle.classList.add("on");
    const box = circle.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(box.left + 10, innerWidth - tip.offsetWidth - 4)) + "px";
    tip.style.top = Math.max(4, box.top - 28) + "px";
  };
  for (const panel of document.querySelectorAll("svg.panel")) {
    const points = [...panel.querySelectorAll("circle")];
    panel.addEventListener("pointermove", (event) => {
      const near = points.map((p) => { const b = p.getBoundingClientRect(); return Math.hypot(b.x + b.width / 2 - event.clientX, b.y + b.height / 2 - event.clientY); });
      const best = near.indexOf(Math.min(...near));
      show(best >= 0 && near[best] < 24 ? points[best] : null);
    });
    panel.addEventListener("pointerleave", () => show(null));
    panel.addEventListener("blur", () => show(null));
    panel.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") show(null);
      if (!step || !points.length) return;
      event.preventDefault();
      const now = points.indexOf(on);
      show(points[now < 0 ? (step > 0 ? 0 : points.length - 1) : Math.min(Math.max(now + step, 0), points.length - 1)]);
    });
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
})();
