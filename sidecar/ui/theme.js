// Before anything is painted: light or dark, if one was chosen; else it is the system's.
document.documentElement.dataset.theme = localStorage.getItem('theme') || '';
