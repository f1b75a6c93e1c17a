-- UTF8 whatever the server's own default is: text from any other encoding comes back as bytes
CREATE DATABASE spectral ENCODING 'UTF8' TEMPLATE template0;
CREATE DATABASE mlflow ENCODING 'UTF8' TEMPLATE template0;
