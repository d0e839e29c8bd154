// Keeps the page live: takes changed parts from the server, keeps focus and opened details, opens dialogs.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const live = $("live"), trouble = $("trouble"), announcer = $("announcer");
  const waiting = new Map();
  let lastHeard = Date.now(), troubled = "", word = headlineWord();

  function headlineWord() {
    const found = document.querySelector(".headline");
    return found ? found.dataset.word + ". " + found.querySelector(".lead").textContent : "";
  }

  function state(name, text) {
    live.dataset.state = name;
    $("live-text").textContent = text;
  }

  function heard(readAt) {
    lastHeard = Date.now();
    troubled = "";
    trouble.hidden = true;
    state("live", "live, as of");
    const time = $("read-at");
    time.dateTime = readAt;
    time.textContent = readAt.slice(11, 19) + "Z";
  }

  function complain(text) {
    state("stale", "not live, as of");
    if (troubled === text) return;
    troubled = text;
    trouble.textContent = text;
    trouble.hidden = false;
  }

  function replace(region, part) {
    const open = [...region.querySelectorAll("details[open]")].map((one) => one.id);
    const scrolled = [...region.querySelectorAll("pre")].map((one) => one.scrollLeft);
    const focused = region.contains(document.activeElement) ? address(document.activeElement) : null;
    region.innerHTML = part.html;
    region.dataset.digest = part.digest;
    for (const id of open) if ($(id)) $(id).open = true;
    region.querySelectorAll("pre").forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
    const again = focused && region.querySelector(focused);
    if (again) again.focus({ preventScroll: true });
    ages(region);
  }

  function address(element) {
    if (element.id) return "#" + CSS.escape(element.id);
    if (element.dataset.opens) return `[data-opens="${CSS.escape(element.dataset.opens)}"]`;
    if (element.tagName === "SUMMARY") return `#${CSS.escape(element.parentElement.id)} > summary`;
    const href = element.getAttribute("href");
    return href ? `a[href="${CSS.escape(href)}"]` : element.className ? "." + element.className.split(" ")[0] : null;
  }

  function take(regions) {
    for (const [name, part] of Object.entries(regions)) {
      const region = document.querySelector(`[data-region="${name}"]`);
      if (!region || region.dataset.digest === part.digest) continue;
      // What is being filled in is not taken from under the hands.
      if (region.querySelector("dialog[open]")) waiting.set(region, part);
      else replace(region, part);
    }
    const now = headlineWord();
    if (now !== word) announcer.textContent = word = now;
  }

  function ages(root) {
    const now = Date.now();
    for (const time of root.querySelectorAll("time[data-ago]")) {
      const seconds = Math.max(0, Math.round((now - Date.parse(time.dateTime)) / 1000));
      const clock = time.dateTime.slice(11, 19) + "Z";
      const ago = seconds < 90 ? seconds + " s" : seconds < 5400 ? Math.round(seconds / 60) + " min"
        : seconds < 172800 ? Math.round(seconds / 3600) + " h" : Math.round(seconds / 86400) + " days";
      time.textContent = `${clock}, ${ago} ago`;
    }
  }

  document.addEventListener("click", (event) => {
    const opens = event.target.closest("[data-opens]");
    if (opens) $(opens.dataset.opens).showModal();
    else if (event.target.closest("[data-closes]")) event.target.closest("dialog").close();
  });
  document.addEventListener("close", (event) => {
    const region = event.target.closest("[data-region]");
    if (!region || !waiting.has(region)) return;
    const part = waiting.get(region);
    waiting.delete(region);
    replace(region, part);
  }, true);
  document.addEventListener("submit", (event) => {
    for (const button of event.target.querySelectorAll("[data-confirms]")) button.disabled = true;
  });

  const source = new EventSource("/events");
  source.addEventListener("regions", (event) => {
    const data = JSON.parse(event.data);
    take(data.regions);
    heard(data.read_at);
  });
  source.addEventListener("beat", (event) => heard(JSON.parse(event.data).read_at));
  source.addEventListener("trouble", (event) => {
    const { text } = JSON.parse(event.data);
    if (text) complain("The link cannot be read now: " + text);
  });
  source.addEventListener("error", () => complain("The console does not answer; trying again."));
  if (location.search.includes("said=")) history.replaceState(null, "", "/");
  // What was begun is in the timeline by then; the words would outlive what they tell.
  setTimeout(() => $("said")?.remove(), 30000);
  ages(document);
  setInterval(() => {
    ages(document);
    if (Date.now() - lastHeard > 15000) complain("Nothing new was heard for 15 seconds; what you see may be old.");
  }, 1000);
})();
