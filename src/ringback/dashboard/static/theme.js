// Runs before the page is drawn: says that there are scripts.
document.documentElement.classList.add("js");
